package admin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// right is what somebody may do.
type right uint8

const (
	nothing right = iota
	read
	change // and read
)

const (
	cookieName   = "sockmill-admin"
	headerName   = "X-Sockmill-Admin" // a page of another origin cannot send it without asking first, which is refused
	bodyBytesMax = 4 << 10
)

// guard decides who may do what.
type guard struct {
	tokens  [change + 1][]byte // by the right that it gives: the sum of the token; nil: nobody has it
	cookies [change + 1]string // what stands for that token in a cookie, as long as this process lives
	cross   *http.CrossOriginProtection
}

func newGuard(cfg *Config) (*guard, error) {
	g := &guard{cross: http.NewCrossOriginProtection()}
	for _, origin := range cfg.Origins {
		if err := g.cross.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("admin: Config.Origins: %w", err)
		}
	}
	if cfg.Token != "" && cfg.Token == cfg.ReadToken {
		return nil, fmt.Errorf("admin: Config.Token and ReadToken are the same: leave out ReadToken if nobody may only look")
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	for r, token := range map[right]string{read: cfg.ReadToken, change: cfg.Token} {
		if token == "" {
			continue
		}
		if len(token) < tokenBytesMin {
			return nil, fmt.Errorf("admin: a token of %d bytes is too short: Config.Token and ReadToken need %d", len(token), tokenBytesMin)
		}
		g.tokens[r] = sum(token)
		mac := hmac.New(sha256.New, key)
		mac.Write(g.tokens[r])
		g.cookies[r] = hex.EncodeToString(mac.Sum(nil))
	}
	return g, nil
}

func sum(s string) []byte {
	b := sha256.Sum256([]byte(s))
	return b[:]
}

// needsToken reports whether there are tokens; else this machine is who may come.
func (g *guard) needsToken() bool { return g.tokens[read] != nil || g.tokens[change] != nil }

// ofToken is what a token is good for. It takes the same time for all tokens.
func (g *guard) ofToken(token string) (r right) {
	given := sum(token)
	for i := read; i <= change; i++ {
		if subtle.ConstantTimeCompare(given, g.tokens[i]) == 1 {
			r = i
		}
	}
	return r
}

// of is what who asks may do.
func (g *guard) of(r *http.Request) (may right, cookie bool) {
	if !g.needsToken() {
		return change, false // protect lets nobody else in
	}
	if auth := r.Header.Get("Authorization"); auth != "" {
		if scheme, token, ok := strings.Cut(auth, " "); ok && strings.EqualFold(scheme, "Bearer") {
			may = g.ofToken(token)
		}
		return may, false
	}
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nothing, false
	}
	for i := read; i <= change; i++ {
		if g.tokens[i] != nil && subtle.ConstantTimeCompare([]byte(c.Value), []byte(g.cookies[i])) == 1 {
			may = i
		}
	}
	return may, true
}

// may lets those in who have a right.
func (g *guard) may(need right, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch has, _ := g.of(r); {
		case has >= need:
			next(w, r)
		case has == nothing:
			w.Header().Set("WWW-Authenticate", `Bearer realm="sockmill"`)
			fail(w, http.StatusUnauthorized, "a token is needed: send the field Authorization: Bearer, with the token of admin.Config")
		default:
			fail(w, http.StatusForbidden, "%s", onlyLooks)
		}
	})
}

const onlyLooks = "this token may only look: to change something, to see what frames hold, and for profiles, admin.Config.Token is needed"

// protect is around everything: who is refused here, is whoever they are.
func (g *guard) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // the page has its own
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytesMax)
		if why := g.foreign(r); why != "" {
			fail(w, http.StatusForbidden, "%s", why)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// foreign says why a request is refused, whatever its token; "" if it is not.
func (g *guard) foreign(r *http.Request) string {
	if !g.needsToken() {
		if why := notLocal(r); why != "" {
			return why
		}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	other := site == "cross-site" || site == "same-site"
	switch {
	case g.cross.Check(r) != nil:
		return "the request comes from a page of another origin: add it to admin.Config.Origins if it is meant to do that"
	case safe(r.Method):
		// Another page cannot read the answer. But it could have a profile taken, or a stream begun, by a frame or a new window too. A link to the page is
		// welcome.
		if other && (r.Header.Get("Sec-Fetch-Mode") != "navigate" || strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/debug/")) {
			return "the request comes from a page of another origin: open the page itself first, which links here"
		}
	case r.Header.Get("Authorization") == "" && r.Header.Get(headerName) == "":
		return "a request that changes something needs the field " + headerName + ": 1, beside a cookie or from this machine"
	}
	return ""
}

func safe(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// notLocal says why a request does not come from this machine; "" if it does. A page of
// another host whose name leads here (DNS rebinding) has that name in Host. A request
// through a proxy on this machine comes from somebody else.
func notLocal(r *http.Request) string {
	const what = "without admin.Config.Token, this page is for who is on this machine: "
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if ip, err := netip.ParseAddr(host); !strings.EqualFold(host, "localhost") && (err != nil || !ip.IsLoopback()) {
		return what + "the Host must be localhost or a loopback address. Set a Token, or come through a tunnel, such as ssh -L 8099:127.0.0.1:8099 host"
	}
	if r.ProtoMajor == 1 && r.ProtoMinor == 0 { // nginx, as it comes, adds no field, and names the address that it asks as the Host
		return what + "the request is HTTP/1.0, which only proxies speak. Set a Token"
	}
	for _, field := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(field) != "" {
			return what + "the request has the field " + field + ", so it comes through a proxy. Set a Token"
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil && (r.RemoteAddr == "" || r.RemoteAddr == "@" || r.RemoteAddr[0] == '/') { // a unix socket
		return ""
	}
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return what + "the request comes from " + r.RemoteAddr + ". Set a Token, or come through a tunnel, such as ssh -L 8099:127.0.0.1:8099 host"
	}
	return ""
}

func (g *guard) sessionOf(may right) Session {
	return Session{Rights: Rights{Read: may >= read, Change: may >= change}, TokenNeeded: g.needsToken()}
}

func (g *guard) session(w http.ResponseWriter, r *http.Request) {
	may, _ := g.of(r)
	answer(w, http.StatusOK, g.sessionOf(may))
}

func (g *guard) login(w http.ResponseWriter, r *http.Request) {
	var login Login
	if !decode(w, r, &login) {
		return
	}
	may := g.ofToken(login.Token)
	if may == nothing && g.needsToken() {
		fail(w, http.StatusUnauthorized, "the token is wrong")
		return
	}
	if g.needsToken() {
		g.setCookie(w, r, g.cookies[may], 0)
	} else {
		may = change
	}
	answer(w, http.StatusOK, g.sessionOf(may))
}

func (g *guard) logout(w http.ResponseWriter, r *http.Request) {
	g.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

// setCookie sets a cookie for all that is below the path of the handler, which its request still has.
func (g *guard) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if path = strings.TrimSuffix(path, "api/session"); !strings.HasPrefix(path, "/") {
		path = "/"
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: path, MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"})
}

// decode reads a body of JSON, which may be empty.
func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var long *http.MaxBytesError
	switch {
	case err == nil && !d.More(), errors.Is(err, io.EOF):
		return true
	case errors.As(err, &long):
		fail(w, http.StatusRequestEntityTooLarge, "the body has more than %d bytes", bodyBytesMax)
	case err == nil:
		fail(w, http.StatusBadRequest, "the body has more than one JSON value")
	default:
		fail(w, http.StatusBadRequest, "the body is not the JSON that is expected: %v", err)
	}
	return false
}
