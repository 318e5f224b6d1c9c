package conformance

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
)

// hugeHeadCases send heads without measure, and what is no HTTP at all.
func hugeHeadCases() []Case {
	// endless sends begin and then piece again and again, 16 MiB at most.
	endless := func(id, doc, begin, piece string, statuses ...int) Case {
		return newCase(id, Should, doc+": "+statusList(statuses)+", or the end", func(t *T) {
			c := t.dial()
			c.stream(func(yield func([]byte) bool) {
				if !yield([]byte(begin)) {
					return
				}
				for range 16 << 20 / len(piece) {
					if !yield([]byte(piece)) {
						return
					}
				}
			})
			c.refusedOrCut(statuses...)
		})
	}
	raw := func(id string, s Severity, doc string, bytes string, statuses ...int) Case {
		return newCase(id, s, doc+": "+statusList(statuses)+", or the end", func(t *T) {
			c := t.dial()
			c.write([]byte(bytes))
			c.refusedOrCut(statuses...)
		})
	}
	return []Case{
		newCase("9110-5.4-too-many-fields", Should, "five thousand short fields: 431", func(t *T) {
			q := t.request()
			for range 5000 {
				q.fields = append(q.fields, "A: b")
			}
			t.refused(q.bytes(), 431)
		}),
		endless("9110-5.4-endless-fields", "fields without end", "GET / HTTP/1.1\r\nHost: a\r\n", "X-Test: 1234567890\r\n", 400, 431),
		endless("9110-5.4-endless-value", "a value without end", "GET / HTTP/1.1\r\nX-Test: ", "1234567890123456", 400, 431),
		endless("9110-5.4-endless-name", "a field name without end", "GET / HTTP/1.1\r\n", "ABCDEFGHIJKLMNOP", 400, 431),
		endless("9112-3-endless-target", "a target without end", "GET /", "abcdefghijklmnop", 400, 414, 431),
		endless("9112-3-endless-method", "a method without end", "", "GETGETGETGETGETG", 400, 414, 431, 501),
		endless("9112-2.2-endless-empty-lines", "empty lines without end", "", "\r\n\r\n\r\n\r\n", 400, 431),
		raw("9112-3-http09", Must, "the request of HTTP/0.9", "GET /\r\n\r\n", 0),
		raw("9112-9-http2-preface", Must, "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 405, 505),
		raw("9112-3-binary", Should, "binary data", "\x00\x01\x02\x03\xff\xfe\xfd\r\n\r\n", 400),
		raw("9112-3-frame", Convention, "a frame in place of the handshake", "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 400),
		newCase("9112-3-tls", Should, "a TLS handshake on a plain port, or plain HTTP on a TLS port: 400, or the end", func(t *T) {
			c := t.dialTCP()
			if t.target.TLS != nil {
				c.write(t.request().bytes())
				t.noPlain(c)
				return
			}
			// The bytes of a real ClientHello, of which nothing more comes.
			hello, far := net.Pipe()
			t.streams.Go(func() {
				_ = tls.Client(far, &tls.Config{ServerName: "a.example"}).Handshake() // ends with the pipe
			})
			b := make([]byte, 16<<10)
			n, err := hello.Read(b)
			_ = hello.Close()
			if err != nil {
				t.Failf("no ClientHello: %v", err)
			}
			c.write(b[:n])
			c.refusedOrCut(400)
		}),
		newCase("4.2.1-half-closed", Convention, "a client that ends its stream in mid-handshake: the end, and 4xx at most", func(t *T) {
			c := t.dial()
			c.write([]byte("GET / HTTP/1.1\r\nHost: a\r\n"))
			c.closeWrite()
			c.refusedOrCut(400, 408)
		}),
	}
}

// noPlain expects that a TLS server takes plain HTTP for what it is: an alert or
// an HTTP answer may come, then the end.
func (t *T) noPlain(c *conn) {
	c.waiting = "the end"
	if b, err := c.r.Peek(5); err == nil && string(b) == "HTTP/" {
		c.refusal(400)
		return
	}
	if _, err := io.Copy(io.Discard, c.r); errors.Is(err, os.ErrDeadlineExceeded) {
		c.lost(err)
	}
}
