// Package tunnel asks an HTTP proxy for a tunnel: the method CONNECT (RFC 9110
// §9.3.6). It dials nothing and speaks no TLS: it takes a connection to the proxy
// and leaves a connection to the target.
package tunnel

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sockmill/sockmill/protocol"
)

// Func returns the proxy through which target is dialled; nil: none. The caller
// does not change what it points to.
type Func func(target *url.URL) (*url.URL, error)

// schemes tells whether the environment's HTTP_PROXY or HTTPS_PROXY counts.
var schemes = map[string]string{
	"ws": "http", "text": "http", "frame": "http", "tcp": "http",
	"wss": "https", "tls": "https",
}

// FromEnvironment is a [Func] that follows HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or
// their names in lower case, by the rules of [http.ProxyFromEnvironment]: the
// environment is read once, and localhost and loopback addresses need no proxy.
// HTTPS_PROXY is for wss and tls, HTTP_PROXY for ws, text, frame and tcp. Other
// schemes, such as those of unix sockets, have no proxy. It is an error if
// HTTP_PROXY is set in a CGI program, whose clients can set it. Any goroutine may
// call it.
func FromEnvironment(target *url.URL) (*url.URL, error) {
	u := *target
	if s, ok := schemes[u.Scheme]; ok {
		u.Scheme = s
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &u})
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	return proxy, nil
}

// Addr returns host:port of a proxy, for [net.Dial]. Without a port it is 443 for
// https, 80 for everything else.
func Addr(proxy *url.URL) string {
	port := proxy.Port()
	switch {
	case port != "":
	case proxy.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// Error says that a proxy refused the tunnel, or that its answer is malformed.
type Error struct {
	Proxy  string // host:port
	Status int    // of the answer, which is not 2xx; 0: the answer is malformed
	Text   string // in ASCII: up to 100 bytes of what the proxy said beside the status, or what is malformed
}

// Error returns the address of the proxy, the status and the text.
func (e *Error) Error() string {
	if e.Status == 0 {
		return "tunnel: proxy " + e.Proxy + " sent a malformed answer to CONNECT: " + e.Text
	}
	return strings.TrimSpace(fmt.Sprintf("tunnel: proxy %s answered CONNECT with %d %s", e.Proxy, e.Status, e.Text))
}

const (
	answerBytesMax = 16 << 10 // all interim answers and the head of the last one
	textBytesMax   = 100      // of Error.Text
)

// Connect makes nc, a connection to proxy, a tunnel to addr, which is host:port. A
// proxy of the scheme https is spoken to over TLS: nc is a *tls.Conn then. The user
// information of the URL is sent as RFC 7617 has it, in clear text if the scheme is
// http.
//
// It blocks until the proxy has answered, and returns what the target said by
// then: up to 16 KiB that come before all that is read from nc. They belong to the
// caller.
//
// Interim answers (1xx but 101) are passed over. A 2xx opens the tunnel, whatever
// its fields say (RFC 9110 §9.3.6). Every other answer is an [*Error], and so
// is one that has not ended within 16 KiB. When ctx ends first, the error wraps its
// cause. Other errors are what is wrong with the arguments, found before anything
// is sent, and those of nc; io.ErrUnexpectedEOF is among them if the proxy hung up.
//
// The deadlines of nc belong to Connect while it runs, and there are none when it
// returns. After an error nc is good for nothing but Close. Any goroutine may call
// it, if no other uses nc.
func Connect(ctx context.Context, nc net.Conn, addr string, proxy *url.URL) (early []byte, err error) {
	request, err := request(addr, proxy)
	if err != nil {
		return nil, err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = nc.SetDeadline(time.Unix(1, 0)) // fails only where nc is closed
	})
	defer func() {
		if !stop() {
			<-interrupted
		}
		_ = nc.SetDeadline(time.Time{})
	}()
	if _, err = nc.Write(request); err == nil {
		early, err = readAnswer(nc)
	}
	var refused *Error
	switch {
	case err == nil:
		return early, nil
	case errors.As(err, &refused):
		refused.Proxy = Addr(proxy)
		return nil, err
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("tunnel: CONNECT by proxy %s: %w", Addr(proxy), err)
}

// request returns the head of the request.
func request(addr string, proxy *url.URL) ([]byte, error) {
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, fmt.Errorf("tunnel: a proxy of the scheme %q is not supported: it must be http or https", proxy.Scheme)
	}
	addr, err := authority(addr)
	if err != nil {
		return nil, err
	}
	b := fmt.Appendf(nil, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n", addr)
	if proxy.User != nil {
		name := proxy.User.Username()
		password, _ := proxy.User.Password()
		pair := name + ":" + password
		if strings.Contains(name, ":") || strings.ContainsFunc(pair, unicode.IsControl) {
			return nil, fmt.Errorf("tunnel: the user information of proxy %s has a colon in the name or a control character", Addr(proxy))
		}
		b = fmt.Appendf(b, "Proxy-Authorization: Basic %s\r\n", base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	return append(b, "\r\n"...), nil
}

// authority checks host:port and returns it as a request names it (RFC 9110 §7.1).
func authority(addr string) (string, error) {
	wrong := func(why string) (string, error) { return "", fmt.Errorf("tunnel: the target %q %s", addr, why) }
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return wrong("is not host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return wrong("needs a port from 1 to 65535")
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && ip.Zone() != "":
		return wrong("has a zone, which means nothing to a proxy")
	case err != nil && !protocol.ValidField(protocol.Field{Name: host}): // a token, as the name of a field
		return wrong("has no well-formed host: it must be ASCII, without spaces and control characters")
	}
	return net.JoinHostPort(host, port), nil
}

// readAnswer returns what it has read behind the answer, or an *Error without Proxy.
func readAnswer(r io.Reader) (early []byte, err error) {
	b, from := make([]byte, 0, answerBytesMax), 0
	for {
		end, next, err := scan(b, from)
		switch {
		case err != nil:
			return nil, err
		case end > 0:
			opened, err := judge(string(b[:end]))
			if err != nil {
				return nil, err
			}
			if b, from = b[end:], 0; opened {
				return slices.Clone(b), nil
			}
			continue
		case len(b) == cap(b):
			return nil, &Error{Text: fmt.Sprintf("it has not ended after %d bytes", answerBytesMax)}
		}
		n, err := r.Read(b[len(b):cap(b)])
		switch b, from = b[:len(b)+n], next; {
		case n > 0: // an error comes again
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
	}
}

// scan is protocol.ScanHead, but refuses at once what speaks another protocol:
// it may never send an empty line.
func scan(b []byte, from int) (end, next int, err error) {
	const begin = "HTTP/1."
	if n := min(len(b), len(begin)); string(b[:n]) != begin[:n] {
		return 0, 0, &Error{Text: "it is not HTTP/1.x"}
	}
	end, next, err = protocol.ScanHead(b, from)
	return end, next, malformed(err)
}

// judge reports whether a head opens the tunnel; without an error, another head
// follows if not. No field matters, not even a malformed one.
func judge(head string) (opened bool, err error) {
	line, _, _ := strings.Cut(head, "\r\n")
	var r protocol.Response
	if err := r.Parse(line+"\r\n\r\n", 0); err != nil {
		return false, malformed(err)
	}
	switch {
	case r.Status/100 == 2:
		return true, nil
	case r.Status < 200 && r.Status != http.StatusSwitchingProtocols:
		return false, nil
	}
	text := strings.Map(visible, strings.TrimSpace(line[len("HTTP/1.1 200"):]))
	return false, &Error{Status: r.Status, Text: text[:min(len(text), textBytesMax)]}
}

// visible replaces what is not fit for a log.
func visible(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}

// malformed makes what package protocol says an *Error.
func malformed(err error) error {
	var he *protocol.HandshakeError
	if errors.As(err, &he) {
		return &Error{Text: he.Reason}
	}
	return err
}
