package engine

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// target is where a Dial goes, and the endpoint of its connections. One is shared by all
// connections of equal Dials, and never changes.
type target struct {
	endpoint
	full    string      // the URL as it was given
	url     string      // what errors show of it
	given   *tls.Config // Dial.TLS
	network string
	address string
}

// is reports whether d has this target.
func (t *target) is(d *Dial) bool {
	return t.full == d.URL && t.handler == d.Handler && t.given == d.TLS && slices.Equal(t.options.Subprotocols, d.Subprotocols) && slices.Equal(t.options.Fields, d.Header)
}

// target returns that of d: the one before it if that is the same, as it is of
// those who dial a crowd.
func (e *Engine) target(d *Dial) (*target, error) {
	if t := e.dialer.last.Load(); t != nil && t.is(d) {
		return t, nil
	}
	t := &target{endpoint: e.main.towards(d), full: d.URL, given: d.TLS}
	if err := t.locate(); err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	e.dialer.last.Store(t)
	return t, nil
}

// withoutUser takes out what may be user information, of a URL that cannot be
// parsed or has some.
func withoutUser(url string) string {
	i := strings.LastIndexByte(url, '@')
	if i < 0 {
		return url
	}
	_, behind, _ := strings.Cut(url, "://")
	if behind == "" {
		return "…" + url[i:]
	}
	return strings.TrimSuffix(url, behind) + "…" + url[i:]
}

// locate takes the URL apart (RFC 6455 §3).
func (t *target) locate() error {
	t.url = t.full
	if i := strings.IndexAny(t.url, "?#"); i >= 0 { // behind it may be a secret
		t.url = t.url[:i]
	}
	wrong := func(why string) error { return fmt.Errorf("engine: Dial.URL %q %s", t.url, why) }
	fits := func(scheme string) bool {
		how, known := (*Config)(t.settings).transportOf(scheme)
		return known && !how.httpOnly && !how.packets
	}
	better := func() string {
		return cmp.Or(strings.Replace(suggest(t.url, t.given != nil, fits), "//:", "//127.0.0.1:", 1), "ws://127.0.0.1:8090/path")
	}
	u, err := url.Parse(t.full)
	if err != nil || u.User != nil || u.Opaque != "" {
		t.url = withoutUser(t.url)
	}
	switch {
	case err != nil:
		return wrong("is no URL: write it like " + better())
	case u.User != nil:
		return wrong("has user information: put it into Dial.Header, as Authorization")
	case strings.Contains(t.full, "#"):
		return wrong("has a fragment: a WebSocket has none, write # as %23")
	}
	how, _ := (*Config)(t.settings).transportOf(u.Scheme)
	switch {
	case !fits(u.Scheme):
		return wrong("must begin with ws://, wss://, tcp://, tls://, unix://, text://, frame://, or a scheme of Config.Schemes: write it like " + better())
	case u.Host == "" && !how.unix && !strings.Contains(t.url, "://"):
		return wrong("has no // behind its scheme: write it like " + better())
	}
	if err := t.speak(how); err != nil {
		return err
	}
	if t.raw && !how.unix && (u.Path != "" && u.Path != "/" || u.RawQuery != "") {
		return wrong("must be " + u.Scheme + "://host:port, without a path")
	}
	if t.given != nil && !how.tls {
		return wrong("does not use Dial.TLS: write wss://, tls://, or +tls behind another scheme")
	}
	t.options.Host = "localhost"
	if how.unix {
		err = t.locateUnix(u, wrong)
	} else {
		err = t.locateTCP(u, how, wrong)
	}
	if err == nil && how.tls {
		t.secure(u.Hostname())
	}
	return err
}

func (t *target) locateUnix(u *url.URL, wrong func(string) error) error {
	path, request := u.Path, ""
	if !t.raw {
		path, request, _ = strings.Cut(path, ":")
	}
	switch {
	case u.Host == "" && path != "":
	case t.raw:
		return wrong("must be " + u.Scheme + ":///path")
	default:
		return wrong("must be " + u.Scheme + ":///path, or " + u.Scheme + ":///path:/target")
	}
	t.network, t.address = "unix", path
	t.options.Target = (&url.URL{Path: request, RawQuery: u.RawQuery}).RequestURI()
	return nil
}

// secure makes the tls.Config of a target with TLS.
func (t *target) secure(host string) {
	cfg := new(tls.Config)
	if t.given != nil {
		cfg = t.given.Clone()
	}
	if cfg.ServerName == "" {
		if cfg.ServerName, _, _ = strings.Cut(host, "%"); host == "" {
			cfg.ServerName = "localhost"
		}
	}
	if cfg.NextProtos == nil && !t.raw {
		cfg.NextProtos = []string{"http/1.1"}
	}
	t.tls = cfg
}

func (t *target) locateTCP(u *url.URL, how transport, wrong func(string) error) error {
	host, port, usual := u.Hostname(), u.Port(), "80"
	if how.tls {
		usual = "443"
	}
	if port == "" && !t.raw {
		port = usual
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return wrong("needs a port from 1 to 65535")
	}
	if host == "" {
		return wrong("names no host")
	}
	t.network, t.address, t.options.Target = "tcp", net.JoinHostPort(host, port), u.RequestURI()
	host, _, _ = strings.Cut(host, "%") // a zone means something on this machine only
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if t.options.Host = host; port != usual {
		t.options.Host += ":" + port
	}
	return nil
}

// handshakeFields are the fields that the handshake itself decides.
var handshakeFields = []string{"Host", "Upgrade", "Connection", "Content-Length", "Transfer-Encoding"}

// check asks of the request what a server would ask of it, so that a mistake
// shows at once.
func (t *target) check() error {
	if t.raw {
		if len(t.options.Fields)+len(t.options.Subprotocols) > 0 {
			return fmt.Errorf("engine: Dial.Header and Dial.Subprotocols are for WebSocket: %s has no handshake", t.url)
		}
		return nil
	}
	for _, f := range t.options.Fields {
		switch {
		case !protocol.ValidField(f):
			return fmt.Errorf("engine: Dial.Header: the field %q has a malformed name or value", f.Name)
		case slices.ContainsFunc(handshakeFields, func(name string) bool { return strings.EqualFold(name, f.Name) }),
			len(f.Name) > 14 && strings.EqualFold(f.Name[:14], "Sec-WebSocket-"):
			return fmt.Errorf("engine: Dial.Header: the field %q belongs to the handshake", f.Name)
		}
	}
	for _, name := range t.options.Subprotocols {
		if !protocol.ValidField(protocol.Field{Name: name}) { // a token, as the name of a field
			return fmt.Errorf("engine: Dial.Subprotocols: %q is no token", name)
		}
	}
	key := "AAAAAAAAAAAAAAAAAAAAAA=="
	head := string(protocol.AppendRequest(nil, t.options.Host, t.options.Target, key, t.options.Subprotocols, "", t.options.Fields))
	var r protocol.Request
	err := r.Parse(head, len(t.options.Fields)+8)
	if err == nil {
		err = protocol.CheckUpgrade(&r)
	}
	var refused *codec.HandshakeError
	if errors.As(err, &refused) {
		return fmt.Errorf("engine: Dial: no server would take the handshake with %s: %s", t.url, refused.Reason)
	}
	return err
}
