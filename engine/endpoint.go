package engine

import (
	"slices"

	"github.com/sockmill/sockmill/codec"
)

// settings are a Config that is settled. Nobody changes them.
type settings Config

// endpoint is what a listener, a mount or a Dial decides for its connections.
// Each of them points to its endpoint, which nobody changes.
type endpoint struct {
	*settings
	e       *Engine
	handler *Handler
	options codec.Options // of the sessions
	raw     bool          // the protocol has no HTTP handshake
	proxies proxies
	http    *httpServer // nil without Config.HTTP
}

// newEndpoint makes the endpoint of accepted connections.
func newEndpoint(e *Engine, h *Handler) (ep *endpoint, err error) {
	ep = &endpoint{settings: e.set, e: e, handler: h, options: codec.Options{
		HandshakeBytesMax: e.set.HandshakeBytesMax,
		HeaderFieldsMax:   e.set.HeaderFieldsMax,
		MessageBytesMax:   int64(e.set.MessageBytesMax),
		FragmentsMax:      e.set.FragmentsMax,
		Deflate:           e.deflate(),
	}}
	if ep.proxies, err = readProxies(ep.TrustedProxies); err != nil {
		return nil, err
	}
	if ep.Codec != nil {
		probe, err := newCodec(ep.Codec)
		if err != nil {
			return nil, err
		}
		_, http := probe.(codec.Upgrader)
		ep.raw = !http
	}
	if ep.HTTP != nil {
		ep.http = newHTTPServer(ep)
	}
	return ep, nil
}

// towards makes the endpoint of what d connects to: with the same limits, and
// this side as the client.
func (ep *endpoint) towards(d *Dial) endpoint {
	to := endpoint{settings: ep.settings, e: ep.e, handler: d.Handler, options: ep.options}
	to.options.Role, to.options.Deflate = codec.Client, clientDeflate(ep.options.Deflate)
	to.options.Subprotocols, to.options.Fields = slices.Clone(d.Subprotocols), slices.Clone(d.Header)
	return to
}
