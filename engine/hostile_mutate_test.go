package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// mutate plays valid sessions with errors strewn in, cut anywhere and ended in
// any way. What a session sends follows from the seed and its number alone.
func mutate(s *siege) {
	var all sync.WaitGroup
	const players = 8
	for player := range players {
		all.Go(func() {
			for i := player; i < s.n(400, 20_000) && !s.t.Failed(); i += players {
				r := rand.New(rand.NewPCG(s.seed, uint64(i)))
				wire, want := validSession(r)
				changes := min(r.IntN(8), 5) // a few stay valid
				for range changes {
					wire = mutation(r, wire)
				}
				if changes > 0 {
					want = ""
				}
				if err := s.play(r, wire, want); err != nil {
					s.t.Errorf("session %d of seed %d, %d changes: %v\nsent %.300q", i, s.seed, changes, err, wire)
				}
			}
		})
	}
	all.Wait()
}

// validSession is what a client sends, and what an echo answers after its 101.
func validSession(r *rand.Rand) (wire []byte, want string) {
	o := codec.Options{Role: codec.Client, Host: "localhost", Target: "/"}
	env := codec.Env{Random: r.Uint64}
	client, server := codec.NewSession(&o), codec.NewSession(&codec.Options{})
	wire = []byte(upgradeHead("X-Padding: " + strings.Repeat("x", r.IntN(200))))
	var answer []byte
	for range r.IntN(12) {
		op := []protocol.Opcode{protocol.OpText, protocol.OpBinary, protocol.OpPing, protocol.OpPong}[r.IntN(4)]
		payload := bytes.Repeat([]byte("é"), r.IntN(1<<r.IntN(15)))
		if op.Control() {
			payload = payload[:min(len(payload), 125)]
		}
		if pieces := r.IntN(3); !op.Control() && pieces > 0 { // by hand: a codec sends no fragments
			answer, _ = server.Encode(&env, answer, op, payload, false)
			for i := range pieces + 1 {
				piece := slices.Clone(payload)
				if i < pieces {
					piece = piece[:r.IntN(len(piece)+1)]
				}
				payload = payload[len(piece):]
				h := protocol.Header{Fin: i == pieces, Opcode: op, Masked: true, Key: [4]byte{1, byte(i), 3, 4}, Length: int64(len(piece))}
				if i > 0 {
					h.Opcode = protocol.OpContinuation
				}
				protocol.Mask(piece, h.Key, 0)
				wire = append(protocol.AppendHeader(wire, h), piece...)
			}
			continue
		}
		wire, _ = client.Encode(&env, wire, op, payload, false)
		switch op {
		case protocol.OpPing:
			answer, _ = server.Encode(&env, answer, protocol.OpPong, payload, false)
		case protocol.OpText, protocol.OpBinary:
			answer, _ = server.Encode(&env, answer, op, payload, false)
		}
	}
	wire = append(wire, "\x88\x82\x00\x00\x00\x00\x03\xe8"...)
	return wire, string(answer) + "\x88\x02\x03\xe8"
}

// mutation changes one thing somewhere.
func mutation(r *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	head := len(b)
	if end := bytes.Index(b, []byte("\r\n\r\n")); end > 0 {
		head = end + 4
	}
	at := r.IntN(head)
	if r.IntN(8) > 0 && head < len(b) { // rather in the frames
		at = head + r.IntN(min(len(b)-head, 1+1<<r.IntN(16)))
	}
	n := min(r.IntN(1+1<<r.IntN(12)), len(b)-at)
	telling := []byte{0x00, 0x01, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0x88, 0xc1, 0xfe, 0xff, '\r', '\n'}
	switch r.IntN(7) {
	case 0:
		b[at] ^= 1 << r.IntN(8)
	case 1:
		b[at] = telling[r.IntN(len(telling))]
	case 2:
		b = slices.Insert(b, at, telling[r.IntN(len(telling))])
	case 3:
		b = slices.Delete(b, at, at+n)
	case 4:
		b = slices.Insert(b, at, slices.Clone(b[at:at+n])...)
	case 5:
		for i := range b[at : at+n] {
			b[at+i] = byte(r.Uint32())
		}
	case 6:
		b = b[:at]
	}
	return b
}

// play sends wire in pieces and ends the connection; unless it is reset, the
// answer must be HTTP and then frames, to the end. want is the answer after
// the 101, if not "".
func (s *siege) play(r *rand.Rand, wire []byte, want string) error {
	nc := s.connect()
	defer s.drop(nc)
	for rest := wire; len(rest) > 0; {
		n := min(len(rest), 1+r.IntN(1<<r.IntN(18)))
		if _, err := nc.Write(rest[:n]); err != nil {
			break // cut: the answer says why
		}
		rest = rest[n:]
	}
	if want == "" && r.IntN(4) == 0 {
		abort(nc)
		return nil
	}
	if want == "" {
		_ = nc.(*net.TCPConn).CloseWrite()
	}
	got := s.ends("a session", nc)
	rest := got
	for strings.HasPrefix(rest, "HTTP/1.1 ") {
		br := bufio.NewReader(strings.NewReader(rest))
		a, err := http.ReadResponse(br, nil)
		if err != nil {
			return fmt.Errorf("the answer %.200q is no HTTP: %w", rest, err)
		}
		_, _ = io.Copy(io.Discard, a.Body)
		b, _ := io.ReadAll(br)
		rest = string(b)
		if a.StatusCode != http.StatusSwitchingProtocols && rest != "" {
			return fmt.Errorf("after %s came %.100q", a.Status, rest)
		}
	}
	if want != "" && rest != want {
		return fmt.Errorf("a valid session was answered with %.300q, want %.300q", got, want)
	}
	for b := []byte(rest); len(b) > 0; {
		h, n, err := protocol.ParseHeader(b)
		if err == nil && n > 0 {
			err = h.Check(false, 0)
		}
		if err != nil {
			return fmt.Errorf("the answer %.200q is no frame: %w", b, err)
		}
		if n == 0 || int(h.Length) > len(b)-n {
			return nil // cut in the middle, since this side broke off
		}
		b = b[n+int(h.Length):]
	}
	return nil
}

// drop closes a connection before the attack is over.
func (s *siege) drop(nc net.Conn) {
	_ = nc.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = slices.DeleteFunc(s.peers, func(p net.Conn) bool { return p == nc })
}
