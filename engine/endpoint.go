package engine

import (
	"crypto/tls"
	"slices"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/certs"
)

// settings are a Config that is settled. Nobody changes them.
type settings Config

// endpoint is what a listener, a mount or a Dial decides for its connections.
// Each of them points to its endpoint, which nobody changes.
type endpoint struct {
	*settings
	e        *Engine
	handler  *Handler
	listener *Listener          // nil of a mount or a Dial
	gate     *admit.Gate        // of the listener, or of the engine
	lanes    []*lane            // one for each loop, which may change it
	options  codec.Options      // of the sessions
	codec    func() codec.Codec // of a protocol that is not WebSocket; nil: WebSocket
	raw      bool               // the protocol has no HTTP handshake
	httpOnly bool               // the http.Server answers handshakes too
	shares   bool               // what a broadcast encodes is what these connections send
	proxies  proxies
	http     *httpServer  // nil without Config.HTTP
	tls      *tls.Config  // nil without TLS
	certs    *certs.Files // nil without Config.CertFile
	expires  time.Time    // of Config.TLS.Certificates, the first; zero without them
}

// newEndpoint makes an endpoint of accepted connections.
func newEndpoint(e *Engine, set *settings, h *Handler) (ep *endpoint, err error) {
	ep = &endpoint{settings: set, e: e, handler: h, gate: e.gate, options: codec.Options{
		HandshakeBytesMax: set.HandshakeBytesMax,
		HeaderFieldsMax:   set.HeaderFieldsMax,
		MessageBytesMax:   int64(set.MessageBytesMax),
		FragmentsMax:      set.FragmentsMax,
		Deflate:           e.deflate(set),
	}}
	if ep.proxies, err = readProxies(ep.TrustedProxies); err != nil {
		return nil, err
	}
	t, _, err := (*Config)(set).transport()
	if err != nil {
		return nil, err
	}
	if ep.httpOnly = t.httpOnly; ep.Codec != nil { // in place of that of the scheme
		t.codec = func(s *settings) codec.Codec { return s.Codec() }
	}
	if err := ep.speak(t); err != nil {
		return nil, err
	}
	if t.tls || set.Addr == "" && set.Listener != nil && (set.TLS != nil || set.CertFile != "") {
		if err := ep.prepareTLS(); err != nil {
			return nil, err
		}
	}
	return ep, nil
}

// speak has the endpoint speak the protocol of t.
func (ep *endpoint) speak(t transport) error {
	if set := ep.settings; t.codec != nil {
		ep.codec = func() codec.Codec { return t.codec(set) }
	}
	if ep.codec == nil {
		return nil
	}
	probe, err := newCodec(ep.codec)
	if err != nil {
		return err
	}
	_, http := probe.(codec.Upgrader)
	ep.raw = !http
	return nil
}

// towards makes the endpoint of what d connects to: with the same limits, and
// this side as the client.
func (ep *endpoint) towards(d *Dial) endpoint {
	to := endpoint{settings: ep.settings, e: ep.e, gate: ep.e.gate, lanes: ep.e.dialer.lanes, handler: d.Handler, options: ep.options} // its protocol: see target.locate
	to.options.Role, to.options.Deflate = codec.Client, clientDeflate(ep.options.Deflate)
	to.options.Subprotocols, to.options.Fields = slices.Clone(d.Subprotocols), slices.Clone(d.Header)
	return to
}
