// Package token verifies the tokens of the Centrifugal client protocol: JSON Web Tokens (RFC 7519) that a backend
// has signed, with HS256 by a secret, with RS256 or ES256 by keys. There are two kinds: a connection token says who
// connects, a subscription token lets a user into one channel. It makes no tokens: any library for JWT does that.
package token

import (
	"crypto"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Why a token is refused, for errors.Is. ErrExpired is apart: with another token, the same user may be let in. All
// others are ErrInvalid too.
var (
	ErrExpired = errors.New("token: expired")
	ErrInvalid = errors.New("token: invalid")

	ErrMalformed = fmt.Errorf("%w: malformed", ErrInvalid)                                             // no JWT, too long, nested too deep, or a claim of a wrong type
	ErrAlgorithm = fmt.Errorf("%w: algorithm not allowed", ErrInvalid)                                 // none, one for which there is no key, or not the one of the key
	ErrKey       = fmt.Errorf("%w: unknown key", ErrInvalid)                                           // no key has the kid of the token
	ErrSignature = fmt.Errorf("%w: wrong signature", ErrInvalid)                                       // forged, or signed by another key
	ErrClaims    = fmt.Errorf("%w: claims not accepted", ErrInvalid)                                   // aud or iss is another one, nbf is in the future, or a claim asks for what is not there
	ErrKind      = fmt.Errorf("%w: a connection token for a subscription, or the reverse", ErrInvalid) // or without a channel
)

// Config says which tokens are good. At least one secret or key must be there.
type Config struct {
	Secret []byte // of HS256; empty: such tokens are refused

	// Keys are for RS256 and ES256, by the kid that the header of a token has; "" is for tokens without a kid. A key is an
	// *rsa.PublicKey of 2,048 to 8,192 bits, or an *ecdsa.PublicKey on the curve P-256.
	Keys map[string]crypto.PublicKey

	// JWKS has more keys: a JSON Web Key Set (RFC 7517) of at most 1 MiB. Keys in it for encryption and for other
	// algorithms are left out. No kid may be there twice, with Keys and JWKSFile.
	JWKS []byte

	// JWKSFile is a file that has such a set too. It is read again when it has changed; that is looked at when a token is verified,
	// at most once a second. If the file cannot be used then, the keys that it had before stay, and FileError is called, once for
	// each change, on the goroutine that verifies. nil: nobody is told.
	JWKSFile  string
	FileError func(error)

	Audience string        // aud must have it; empty: not looked at
	Issuer   string        // iss must be it; empty: not looked at
	Leeway   time.Duration // by how much the clock of the signer may be wrong, for exp and nbf
	BytesMax int           // of a token; 0: 8,192
}

const bytesMax = 8192

// Connect is what a connection token says.
type Connect struct {
	User     string         // sub; may be empty
	Expire   time.Time      // when the connection has to show a new token: expire_at, else exp and Config.Leeway; zero: never
	Info     []byte         // b64info, else info; nil: none
	Meta     []byte         // meta, which is not for other clients; nil: none
	Channels map[string]Sub // of channels and subs: what the client is to be subscribed to
}

// Sub is what the claim subs says of a channel.
type Sub struct {
	Info []byte // b64info, else info; nil: none
	Data []byte // b64data, else data, for the client; nil: none
}

// Subscribe is what a subscription token says.
type Subscribe struct {
	Channel string    // never empty
	User    string    // sub: only this user may use it
	Client  string    // client: only this connection may use it; empty: any
	Expire  time.Time // when the subscription has to show a new token, as Connect.Expire
	Info    []byte    // b64info, else info; nil: none
}

// Verifier verifies tokens. Any goroutine may call its methods at any time.
type Verifier struct {
	now  func() time.Time
	rule atomic.Pointer[rule]
}

// rule is what comes of a Config. Only keys of a file change in it.
type rule struct {
	cfg    Config
	keys   map[string]crypto.PublicKey
	file   *keyFile // nil: none
	parser *jwt.Parser
}

// New makes a Verifier. It fails if a field is wrong, or the file cannot be used.
func New(cfg Config) (*Verifier, error) {
	return open(cfg, time.Now)
}

func open(cfg Config, now func() time.Time) (*Verifier, error) {
	v := &Verifier{now: now}
	if err := v.Set(cfg); err != nil {
		return nil, err
	}
	return v, nil
}

// Set replaces the Config: what is verified from now on obeys the new one. If it fails, as New does, the old one stays.
// The caller must not change afterwards what cfg refers to.
func (v *Verifier) Set(cfg Config) error {
	if cfg.BytesMax == 0 {
		cfg.BytesMax = bytesMax
	}
	switch {
	case cfg.BytesMax < 0:
		return fmt.Errorf("token: Config.BytesMax is %d: it must be positive, or 0 for the default", cfg.BytesMax)
	case cfg.Leeway < 0:
		return fmt.Errorf("token: Config.Leeway is %v: it must not be negative", cfg.Leeway)
	}
	r := &rule{cfg: cfg, keys: map[string]crypto.PublicKey{}}
	if err := r.collect(v.now); err != nil {
		return err
	}
	if len(cfg.Secret) == 0 && len(r.keys) == 0 && r.file == nil {
		return errors.New("token: Config has neither Secret nor Keys, JWKS or JWKSFile: no token could be verified")
	}
	options := []jwt.ParserOption{jwt.WithStrictDecoding(), jwt.WithLeeway(cfg.Leeway), jwt.WithTimeFunc(v.now)}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	r.parser = jwt.NewParser(options...)
	v.rule.Store(r)
	return nil
}

// Connect verifies a connection token. It fails with one of the errors of this package.
func (v *Verifier) Connect(token string) (Connect, error) {
	c, expire, err := v.verify(token, false)
	if err != nil {
		return Connect{}, err
	}
	out := Connect{User: c.Subject, Expire: expire, Info: c.info(), Meta: c.Meta}
	if n := len(c.Channels) + len(c.Subs); n > 0 {
		out.Channels = make(map[string]Sub, n)
	}
	for _, name := range c.Channels {
		out.Channels[name] = Sub{}
	}
	for name, s := range c.Subs {
		out.Channels[name] = Sub{Info: s.info(), Data: either(s.B64Data, s.Data)}
	}
	return out, nil
}

// Subscribe verifies a subscription token. It fails with one of the errors of this package. Whether the channel, the
// user and the client are those of who shows it, the caller has to check.
func (v *Verifier) Subscribe(token string) (Subscribe, error) {
	c, expire, err := v.verify(token, true)
	if err != nil {
		return Subscribe{}, err
	}
	return Subscribe{Channel: *c.Channel, User: c.Subject, Client: c.Client, Expire: expire, Info: c.info()}, nil
}

func (v *Verifier) verify(token string, subscription bool) (*claims, time.Time, error) {
	r := v.rule.Load()
	if err := r.look(token); err != nil {
		return nil, time.Time{}, err
	}
	c := &claims{subscription: subscription}
	if _, err := r.parser.ParseWithClaims(token, c, r.key); err != nil {
		return nil, time.Time{}, reason(err)
	}
	expire, err := c.expire(v.now(), r.cfg.Leeway)
	return c, expire, err
}

// refusal is an error of this package with what is wrong.
type refusal struct {
	is   error
	text string
}

func (r *refusal) Error() string { return r.is.Error() + ": " + r.text }
func (r *refusal) Unwrap() error { return r.is }

func refuse(is error, format string, args ...any) error {
	return &refusal{is, fmt.Sprintf(format, args...)}
}

// reason makes an error of this package of one of the library. A token is called expired only if all else is good: who
// shows such a one is asked for another one.
func reason(err error) error {
	var ours *refusal
	if errors.As(err, &ours) {
		return ours
	}
	for _, m := range []struct{ theirs, ours error }{
		{jwt.ErrTokenMalformed, ErrMalformed},
		{jwt.ErrTokenUnverifiable, ErrAlgorithm},
		{jwt.ErrTokenSignatureInvalid, ErrSignature},
		{jwt.ErrTokenInvalidAudience, ErrClaims},
		{jwt.ErrTokenInvalidIssuer, ErrClaims},
		{jwt.ErrTokenRequiredClaimMissing, ErrClaims},
		{jwt.ErrTokenNotValidYet, ErrClaims},
	} {
		if errors.Is(err, m.theirs) {
			return refuse(m.ours, "%v", err)
		}
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		return ErrExpired
	}
	return refuse(ErrInvalid, "%v", err)
}
