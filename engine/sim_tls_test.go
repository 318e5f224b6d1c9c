package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/engine/internal/stage"
)

// simTLS is TLS as the peer of a connection has it. The handshake is made in memory
// before the connection arrives. The bytes of records differ from one run to the
// next, their sizes do not.
type simTLS struct {
	*stage.TLS
	overhead int // bytes of a record that are no plaintext

	cipher  []byte      // sealed, not in the kernel yet
	sealed  uint64      // bytes of ciphertext, in all
	records []simRecord // that the server has not read to their ends
	shut    bool        // close_notify was sealed
	spoiled bool        // what is sealed from now on cannot be opened

	opened   uint64 // bytes of plaintext
	notified bool   // the server's close_notify came
	alert    error  // or another alert of the server's
}

// simRecord is what the server has when it has read a record.
type simRecord struct {
	begin  uint64 // of the record in the stream of ciphertext
	end    uint64
	plain  int
	notice bool // it is a close_notify
	ticket bool // of these there may be several, or parts
	broken bool // it cannot be opened
}

// simConfigs are those of clients and servers, by version.
var simConfigs = sync.OnceValue(func() (configs [2][2]*tls.Config) {
	cert, err := SelfSigned()
	if err != nil {
		panic(err)
	}
	for i, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		common := tls.Config{
			MinVersion: version, MaxVersion: version, CurvePreferences: []tls.CurveID{tls.X25519},
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		}
		client, server := common.Clone(), common.Clone()
		client.InsecureSkipVerify = true
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1) // handshakes of TLS 1.2 become cheap
		if version == tls.VersionTLS13 {
			client.ClientSessionCache = forgetful{}
		}
		server.Certificates = []tls.Certificate{cert}
		configs[i] = [2]*tls.Config{client, server}
	}
	return configs
})

// forgetful makes servers send tickets, which arrive behind the handshake.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}

// simWire is one end of a connection in memory.
type simWire struct {
	simNetConn
	in, out chan []byte
	rest    []byte
}

func (w *simWire) Read(p []byte) (n int, err error) {
	if len(w.rest) == 0 {
		w.rest = <-w.in
	}
	n = copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

func (w *simWire) Write(p []byte) (int, error) {
	w.out <- bytes.Clone(p)
	return len(p), nil
}

// left is what came behind the handshake.
func (w *simWire) left() []byte {
	for len(w.in) > 0 {
		w.rest = append(w.rest, <-w.in...)
	}
	return w.rest
}

// shake puts TLS between the connection and its peer, and returns the engine's side.
func (c *simConn) shake() *sealed {
	s, p, k := c.s, c.peer, c.sock
	version := s.r.IntN(2)
	configs, up, down := simConfigs()[version], make(chan []byte, 16), make(chan []byte, 16)
	clientWire, serverWire := &simWire{in: down, out: up}, &simWire{in: up, out: down}
	client, server := stage.Client(clientWire, nil, configs[0]), stage.Server(serverWire, nil, configs[1])
	done := make(chan error)
	go func() { done <- server.Handshake(context.Background()) }()
	if err := errors.Join(client.Handshake(context.Background()), <-done); err != nil {
		panic(err)
	}
	client.Detach()
	server.Detach()
	t := &simTLS{TLS: client, overhead: [2]int{24, 17}[version]}
	mine := server
	if p.tls = t; p.server {
		t.TLS, mine = server, client
		t.add(clientWire.left(), simRecord{ticket: true})
	} else {
		k.out = clientWire.left()
	}
	p.unseal(nil) // what crypto/tls has read already
	k.written.overhead = t.overhead
	return &sealed{TLS: mine, since: s.e.elapsed() - time.Duration(s.pick(0, 100, 2000))*time.Millisecond}
}

// add queues a record for the server.
func (t *simTLS) add(b []byte, r simRecord) {
	t.cipher = append(t.cipher, b...)
	r.begin, r.end = t.sealed, t.sealed+uint64(len(b))
	if t.sealed = r.end; !t.spoiled {
		t.records = append(t.records, r)
	}
}

// seal seals the first n bytes of what the peer has to say.
func (p *peer) seal(n int) {
	t := p.tls
	out, err := t.Seal(nil, [][]byte{p.stream[:n]})
	if err != nil {
		p.s.failf("%v: the peer cannot seal: %v", p.c, err)
	}
	for p.stream = p.stream[n:]; len(out) > 0; {
		size := 5 + int(out[3])<<8 + int(out[4])
		t.add(out[:size], simRecord{plain: size - 5 - t.overhead})
		out = out[size:]
	}
}

// waiting is how many bytes of the peer's are not in the kernel yet.
func (p *peer) waiting() int {
	if p.tls != nil {
		return len(p.stream) + len(p.tls.cipher)
	}
	return len(p.stream)
}

// unseal opens what came from the server.
func (p *peer) unseal(b []byte) []byte {
	s, t, room := p.s, p.tls, make([]byte, 4096)
	if len(b) > 0 && (t.notified || t.alert != nil) {
		s.failf("%v: %d bytes follow close_notify or an alert", p.c, len(b))
	}
	t.Feed(b)
	for plain := []byte(nil); ; {
		n, err := t.Open(room)
		plain = append(plain, room[:n]...)
		t.opened += uint64(n)
		switch {
		case err == nil:
			continue
		case errors.Is(err, stage.ErrMore):
		case errors.Is(err, io.EOF):
			s.tracef("%v: the peer receives close_notify", p.c)
			t.notified = true
		case !t.spoiled:
			s.failf("%v: the server broke TLS: %v", p.c, err)
		default:
			s.tracef("%v: the peer receives an alert: %v", p.c, err)
			t.alert = err
		}
		return plain
	}
}

// endSealed ends the peer's stream as TLS peers do: with close_notify and FIN, with
// close_notify alone, or with FIN alone.
func (p *peer) endSealed() {
	s, t, k := p.s, p.tls, p.c.sock
	how := s.r.IntN(3)
	if how == 2 || t.shut {
		t.cipher, t.shut = nil, true // nothing can follow: the last record may be a part
	} else {
		t.shut = true
		out, err := t.Shut(nil)
		if err != nil {
			s.failf("%v: the peer cannot shut: %v", p.c, err)
		}
		t.add(out, simRecord{notice: true})
		k.in = append(k.in, t.cipher...)
		t.cipher = nil
	}
	s.tracef("%v: the peer ends TLS, %d", p.c, how)
	if how != 1 || p.ending {
		k.inFin = true
	}
}

// spoilSealed changes byte i of the ciphertext that is under way.
func (p *peer) spoilSealed(i int) {
	t := p.tls
	t.cipher[i] ^= byte(1 + p.s.r.IntN(255))
	at := t.sealed - uint64(len(t.cipher)-i)
	j := slices.IndexFunc(t.records, func(r simRecord) bool { return r.end > at })
	r := t.records[j]
	r.broken, r.plain, r.notice = at != r.begin+3 && at != r.begin+4 && !r.ticket, 0, false // with another length, who knows
	p.s.tracef("%v: the peer spoils byte %d of its records, %+v", p.c, at, r)
	t.records, t.spoiled, p.lossy = append(t.records[:j], r), true, true
}

// simRecords counts the plaintext of a stream of records (RFC 8446 §5.1).
type simRecords struct {
	overhead   int
	head       [5]byte
	have, left int
	plain      uint64
}

func (r *simRecords) take(b []byte) {
	for len(b) > 0 {
		if r.left > 0 {
			n := min(r.left, len(b))
			r.left, b = r.left-n, b[n:]
			continue
		}
		n := copy(r.head[r.have:], b)
		if r.have, b = r.have+n, b[n:]; r.have == len(r.head) {
			r.have, r.left = 0, int(r.head[3])<<8+int(r.head[4])
			r.plain += uint64(r.left - r.overhead)
		}
	}
}

// unsealed notes what the engine must have found in the records that it has read.
// Once the session is over it does not look.
func (k *simSock) unsealed(looks bool) {
	s, t := k.s, k.c.peer.tls
	plain := uint64(0)
	for ; len(t.records) > 0 && t.records[0].end <= k.received; t.records = t.records[1:] {
		if r := t.records[0]; looks {
			plain += uint64(r.plain)
			k.noticed, k.broken = k.noticed || r.notice, k.broken || r.broken
		}
	}
	cc := k.c.c
	if found := cc.Stats().BytesIn - uint64(k.c.head) - k.opened; cc.end.stream == streamCut && found >= min(plain, loop.ReadBytesMax) {
		plain = min(plain, found) // it did not look any further
		k.noticed, k.broken = false, false
	}
	k.opened += plain
	switch over := cc.end.stream == streamCut; {
	case k.noticed && !k.inFin && !k.reset && !over:
		s.failf("%v: the peer's close_notify does not end its stream", k.c)
	case k.broken && cc.end.phase.Load() < phaseEnding && !over:
		s.failf("%v: goes on after a broken record", k.c)
	}
}

// ends notes what the engine must make of the end of the peer's stream, and reports
// whether it is to answer with close_notify.
func (k *simSock) ends() (answers bool) {
	cc := k.c.c
	if cc.tls == nil || cc.end.phase.Load() >= phaseEnding || cc.end.stream == streamCut {
		return false
	}
	k.truncated = !k.noticed
	return k.noticed && !cc.unsent()
}

// checkSealed asserts that all that counts as read or written was.
func (c *simConn) checkSealed() {
	s, k, cc := c.s, c.sock, c.c
	st, t, over := cc.Stats(), cc.tls, cc.end.stream == streamCut || cc.end.phase.Load() == phaseGone
	if st.BytesIn != k.opened+uint64(c.head) || st.MessagesIn != c.messages {
		s.failf("%v: %+v, but opened %d and %d, delivered %d", c, st, k.opened, c.head, c.messages)
	}
	if cause := cc.ending().cause; cause != nil && strings.Contains(cause.Error(), "tls: ") {
		s.failf("%v: wrote what could not be sealed: %v", c, cause)
	}
	if over {
		return
	}
	written := k.written
	written.take(t.rest[t.sent:])
	if n := written.plain - st.BytesOut; n != 0 && !(n == 2 && t.shut) { // an alert has two bytes
		s.failf("%v: %+v, but sealed %d, shut %v", c, st, written.plain, t.shut)
	}
	latest := (t.since + s.e.set.HandshakeTimeout).Milliseconds()
	if x := &cc.live.timer; cc.end.phase.Load() == phaseOpening && c.d == nil && x.Due() > max(latest, c.at)+1 && !x.Again() {
		s.failf("%v: its handshake may last until %d, not %d", c, x.Due(), latest)
	}
	if n := t.Held(); n != 0 {
		s.failf("%v: %d bytes are held by its TLS", c, n)
	}
}

// checkSealedEnd is called when the peer has read the end of the stream.
func (c *simConn) checkSealedEnd() {
	s, t, k, cc := c.s, c.peer.tls, c.sock, c.c
	switch {
	case k.reset || !k.outFin && cc.end.stream != streamEnded:
	case k.broken && t.alert == nil:
		s.failf("%v: no alert for a broken record", c)
	case !t.notified && t.alert == nil:
		s.failf("%v: the stream ended without close_notify", c)
	case t.opened != cc.Stats().BytesOut:
		s.failf("%v: %d bytes arrived, %+v", c, t.opened, cc.Stats())
	}
}

// checkSealedError asserts that OnClose is told how TLS ended.
func (c *simConn) checkSealedError(e *CloseError) {
	k := c.sock
	if k.truncated != errors.Is(e.Err, io.ErrUnexpectedEOF) {
		c.s.failf("%v: truncated %v, but OnClose is told %v", c, k.truncated, e.Err)
	}
}

// early has the engine's side read some of the ciphertext before the connection comes
// to its loop.
func (c *simConn) early(to *sealed) {
	p, k := c.peer, c.sock
	p.seal(1 + c.s.r.IntN(len(p.stream)))
	n := 1 + c.s.r.IntN(len(p.tls.cipher))
	to.Feed(bytes.Clone(p.tls.cipher[:n]))
	p.tls.cipher = p.tls.cipher[n:]
	k.received += uint64(n)
}

// brokenTLS reports whether err is one of crypto/tls about what the peer sent.
func brokenTLS(err error) bool {
	var local *net.OpError
	var head tls.RecordHeaderError
	return errors.As(err, &local) && local.Op == "local error" || errors.As(err, &head)
}
