//go:build linux

package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/sockmill/sockmill/protocol"
)

// request is an opening handshake as a browser sends it, and its answer's key.
type request struct {
	key    string
	head   []byte
	accept []byte
}

// What is offered makes the same of all servers.
const (
	// Each message is compressed by itself. Any window may be answered, since all are
	// longer than a message of 1 KiB, beyond which there is nothing to refer to.
	aloneOffer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"
	// With the help of those before it, as far as a window of 12 bits reaches.
	takeoverOffer = "permessage-deflate; server_max_window_bits=12; client_max_window_bits"
)

func newRequests(host, target string, protocols []string, extensions string) []request {
	all := make([]request, variants)
	for i := range all {
		nonce := make([]byte, 16)
		for at := range nonce {
			nonce[at] = byte(31*i + 7*at)
		}
		key := base64.StdEncoding.EncodeToString(nonce)
		head := protocol.AppendRequest(nil, host, target, key, protocols, extensions, []protocol.Field{
			{Name: "Pragma", Value: "no-cache"},
			{Name: "Cache-Control", Value: "no-cache"},
			{Name: "User-Agent", Value: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"},
			{Name: "Origin", Value: "http://" + host},
			{Name: "Accept-Encoding", Value: "gzip, deflate, br, zstd"},
			{Name: "Accept-Language", Value: "en-GB,en;q=0.9,de;q=0.8"},
			{Name: "Cookie", Value: "session=3f0c9a4be1d24b53b7c6d5a2f7e8c1d0; theme=dark; seen=1719848400"},
		})
		all[i] = request{key: key, head: head, accept: []byte(protocol.AcceptKey(key))}
	}
	return all
}

// begin connects connection i and sends its request.
func (l *load) begin(i int) error {
	c := &l.conns[i]
	l.begun++
	fd, err := connect(l.to[c.node], byte(l.begun%sources))
	if err != nil {
		return err
	}
	acc := c.acc[:0]
	*c = conn{fd: fd, state: connecting, key: uint8(l.begun % variants), group: c.group, node: c.node, script: c.script, acc: acc}
	if l.o.tls {
		c.tls = newSealed()
	}
	return l.ask(i, opAdd)
}

// ask sends the request, at once if the socket takes it: over loopback it is
// connected by the time connect returns.
func (l *load) ask(i, op int) error {
	c := &l.conns[i]
	if l.o.mode == "raw" {
		c.state = open
		l.opened++
		return l.p.watch(op, c.fd, i, syscall.EPOLLIN)
	}
	head := l.requests[c.key].head
	if c.tls != nil {
		if !c.tls.shaken {
			return l.shake(i, op)
		}
		head = l.seal(c, head)
	}
	n, errno := write(c.fd, head)
	switch {
	case c.tls == nil && (errno == syscall.EAGAIN || errno == syscall.ENOTCONN):
		return l.p.watch(op, c.fd, i, syscall.EPOLLOUT)
	case errno != 0:
		return l.refused(i, fmt.Errorf("write: %w", errno))
	case n < len(head):
		return fmt.Errorf("connection %d: the socket took %d of %d bytes of the request", i, n, len(head))
	}
	c.state = asking
	l.bytesOut += uint64(n)
	return l.p.watch(op, c.fd, i, syscall.EPOLLIN)
}

// refused ends connection i, whose opening failed: an error, unless the mode
// tries again, as clients do that lost their server.
func (l *load) refused(i int, err error) error {
	if !l.retry {
		return fmt.Errorf("connection %d, opening: %w", i, err)
	}
	l.retries++
	l.again = append(l.again, i)
	l.conns[i].reset()
	return nil
}

// answer takes b as a piece of the answer to the request. It returns what
// follows the head, and true once there is one.
func (l *load) answer(i int, b []byte) (rest []byte, done bool, err error) {
	c := &l.conns[i]
	head := b
	if len(c.acc) > 0 {
		c.acc = append(c.acc, b...)
		head = c.acc
	}
	end := bytes.Index(head, []byte("\r\n\r\n"))
	if end < 0 {
		if len(c.acc) == 0 {
			c.acc = append(c.acc, b...)
		}
		if len(c.acc) > 16<<10 {
			return nil, false, errors.New("a head of more than 16 KiB")
		}
		return nil, false, nil
	}
	end += 4
	rest = b[len(b)-(len(head)-end):]
	err = l.checkAnswer(head[:end], &l.requests[c.key])
	c.acc = c.acc[:0]
	return rest, true, err
}

func (l *load) checkAnswer(head []byte, q *request) error {
	l.answers++
	if l.o.mode == "handshake" && l.answers%compareEvery != 0 {
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !bytes.Contains(head, q.accept) {
			return fmt.Errorf("the answer is %.200q", head)
		}
		return nil
	}
	var r protocol.Response
	if err := r.Parse(string(head), 32); err != nil {
		return err
	}
	if err := protocol.CheckResponse(&r, q.key, l.protocols); err != nil {
		return fmt.Errorf("%w: %.200q", err, head)
	}
	if l.o.mode == "handshake" {
		l.compared++
	}
	var extensions string
	for _, f := range r.Fields {
		if strings.EqualFold(f.Name, "Sec-WebSocket-Extensions") {
			extensions = f.Value
		}
	}
	switch {
	case !l.inflate && extensions != "":
		return fmt.Errorf("the server compresses (%s): this scenario is without", extensions)
	case l.o.mode == "deflate" && !strings.Contains(extensions, "server_no_context_takeover"):
		return fmt.Errorf("the server's answer to %q is %q: it must compress each message by itself", aloneOffer, extensions)
	case l.o.mode == "takeover" && (strings.Contains(extensions, "no_context_takeover") || !strings.Contains(extensions, "server_max_window_bits=12")):
		return fmt.Errorf("the server's answer to %q is %q: it must take over 12 bits both ways", takeoverOffer, extensions)
	}
	return nil
}

// openAll opens all connections, so many of them at a time.
func (l *load) openAll(atOnce int) error { return l.openFrom(0, atOnce) }

// openFrom opens the connections from first on; those before it are open.
func (l *load) openFrom(first, atOnce int) error {
	l.opened = first
	next, had, progress := first, first, l.now()
	for l.opened < len(l.conns) {
		if now := l.now(); l.opened > had {
			had, progress = l.opened, now
		} else if now-progress > int64(l.o.stall) {
			return fmt.Errorf("%d of %d connections are open, and none more for %v", l.opened, len(l.conns), l.o.stall)
		}
		for ; next < len(l.conns) && next-l.opened < atOnce; next++ {
			if err := l.begin(next); err != nil {
				return err
			}
		}
		again := l.again
		l.again = nil
		for _, i := range again {
			if err := l.begin(i); err != nil {
				return err
			}
		}
		if l.opened == len(l.conns) {
			break
		}
		if err := l.turn(); err != nil {
			return err
		}
	}
	return nil
}

// resetAll closes all connections with RST.
func (l *load) resetAll() { l.resetFrom(0) }

// resetFrom closes those from first on.
func (l *load) resetFrom(first int) {
	for i := first; i < len(l.conns); i++ {
		if l.conns[i].state != closed {
			l.conns[i].reset()
		}
	}
}

// reset closes the connection with RST.
func (c *conn) reset() {
	if c.tls != nil {
		c.tls.stop()
	}
	reset(c.fd)
	c.state = closed
}
