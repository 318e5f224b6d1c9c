package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// depthMax is how deep arrays and objects may be nested in a token.
const depthMax = 32

// look refuses what should not reach the parser.
func (r *rule) look(token string) error {
	if n := len(token); n > r.cfg.BytesMax {
		return refuse(ErrMalformed, "it has %d bytes: at most %d are allowed (Config.BytesMax)", n, r.cfg.BytesMax)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return refuse(ErrMalformed, "it has %d parts, and not 3", len(parts))
	}
	if strings.ContainsAny(token, "\r\n") { // package base64 would leave them out
		return refuse(ErrMalformed, "it has more than one line")
	}
	for _, part := range parts[:2] {
		text, err := base64.RawURLEncoding.Strict().DecodeString(part)
		switch {
		case err != nil:
			return refuse(ErrMalformed, "%v", err)
		case !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")):
			return refuse(ErrMalformed, "its parts must be JSON objects")
		case !utf8.Valid(text):
			return refuse(ErrMalformed, "it is not in UTF-8")
		case deeper(text, depthMax):
			return refuse(ErrMalformed, "it is nested deeper than %d", depthMax)
		}
	}
	return nil
}

// deeper reports whether brackets of a JSON text are nested deeper than levels.
func deeper(text []byte, levels int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > levels {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// claims are those of both kinds of tokens.
type claims struct {
	Subject   string           `json:"sub"`
	Issuer    string           `json:"iss"`
	Audience  jwt.ClaimStrings `json:"aud"`
	Expires   *seconds         `json:"exp"`
	NotBefore *seconds         `json:"nbf"`
	ExpireAt  *seconds         `json:"expire_at"` // 0: never
	shown

	// of a connection token
	Meta     raw                 `json:"meta"`
	Channels []string            `json:"channels"`
	Subs     map[string]subClaim `json:"subs"`

	// of a subscription token
	Channel  *string  `json:"channel"`
	Client   string   `json:"client"`
	Override override `json:"override"`

	subscription bool // such a token is wanted
}

// shown is what others see of a client.
type shown struct {
	Info    raw    `json:"info"`
	B64Info []byte `json:"b64info"`
}

func (s *shown) info() []byte { return either(s.B64Info, s.Info) }

type subClaim struct {
	shown
	Data     raw      `json:"data"`
	B64Data  []byte   `json:"b64data"`
	Override override `json:"override"`
}

// override would change options of a channel for one client. The options of this server are the same for all. To ignore
// the fields that force something would change nothing for the client.
type override struct {
	Presence  *struct{} `json:"presence"`
	JoinLeave *struct{} `json:"join_leave"`
}

// raw is JSON, in one line; nil: none.
type raw []byte

// UnmarshalJSON implements json.Unmarshaler.
func (r *raw) UnmarshalJSON(text []byte) error {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return err
	}
	if *r = b.Bytes(); string(*r) == "null" {
		*r = nil
	}
	return nil
}

func either(binary []byte, text raw) []byte {
	if len(binary) > 0 {
		return binary
	}
	return text
}

// seconds is a NumericDate (RFC 7519 §2).
type seconds struct{ time.Time }

const secondsMax = 253402300799 // the end of the year 9999

// UnmarshalJSON implements json.Unmarshaler.
func (s *seconds) UnmarshalJSON(text []byte) error {
	var n float64
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	if n < 0 || n > secondsMax {
		return errors.New("a time must be in seconds since 1970, not in milliseconds")
	}
	s.Time = time.Unix(int64(n), 0)
	return nil
}

func (s *seconds) date() (*jwt.NumericDate, error) {
	if s == nil {
		return nil, nil
	}
	return &jwt.NumericDate{Time: s.Time}, nil
}

// The methods of jwt.Claims.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.Expires.date() }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.NotBefore.date() }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.Audience, nil }

// Validate implements jwt.ClaimsValidator. It is called when the signature is good.
func (c *claims) Validate() error {
	switch {
	case !c.subscription && c.Channel != nil:
		return refuse(ErrKind, "a connection token has no claim channel")
	case c.subscription && (c.Channel == nil || *c.Channel == ""):
		return refuse(ErrKind, "a subscription token must have a claim channel")
	}
	all := []override{c.Override}
	for _, s := range c.Subs {
		all = append(all, s.Override)
	}
	for _, o := range all {
		if o.Presence != nil || o.JoinLeave != nil {
			return refuse(ErrClaims, "presence and join_leave cannot be changed by an override: set the options of the channel")
		}
	}
	return nil
}

// expire is when the client has to show a new token.
func (c *claims) expire(now time.Time, leeway time.Duration) (time.Time, error) {
	switch {
	case c.ExpireAt != nil && c.ExpireAt.Unix() == 0:
		return time.Time{}, nil
	case c.ExpireAt != nil && !now.Before(c.ExpireAt.Time):
		return time.Time{}, ErrExpired
	case c.ExpireAt != nil:
		return c.ExpireAt.Time, nil
	case c.Expires != nil:
		return c.Expires.Add(leeway), nil
	}
	return time.Time{}, nil
}
