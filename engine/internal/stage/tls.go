// Package stage puts TLS between a socket and a codec, as bytes to bytes: an
// event loop gives ciphertext and takes plaintext, and the other way around. It
// is crypto/tls of the standard library over a net.Conn that has no socket. The
// package knows no socket, no engine and no frame, starts no goroutine and asks
// no clock.
//
// A connection begins with a handshake, which blocks: it runs on a goroutine
// over a real net.Conn. Then Detach takes the net.Conn away, and a loop makes
// every further call. Attach gives a net.Conn back, for an http.Server.
//
// # Memory
//
// A TLS keeps no buffer of its own while nothing waits in it (see Held). What
// crypto/tls keeps cannot be asked. TestIdleMemory measured, with Go 1.26 on
// amd64, these bytes for one idle connection, all included:
//
//	         server  client
//	TLS 1.2   4,200   4,200
//	TLS 1.3   6,900   6,300
//
// crypto/tls collects each record that arrives in one buffer of the connection.
// The buffer grows to the largest record that came, and no public call gives it
// back. After records of 16 KiB it has 18 KiB, or 32 KiB where they became longer
// step by step, because it doubles. It would have 40 and 48 KiB if crypto/tls
// read past the end of a record. In loop mode it does not: the wire ends each
// read where a record ends.
//
// # Records
//
// Unless DynamicRecordSizingDisabled is set, crypto/tls makes the first
// records of a connection small (about 1.2 KB, then 2.4 KB and so on) and uses the
// full 16 KiB from the 14th record on. This package does not change the setting.
package stage

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrMore is what Open returns when it needs more ciphertext. It is the only
// error of Open after which the connection goes on.
var ErrMore error = wouldBlock{}

// recordBytesMax is how much plaintext one record takes (RFC 8446, section 5.1).
const recordBytesMax = 16 << 10

// A TLS is one connection's TLS. It is used by one goroutine at a time: first by
// the one that calls Handshake, then by a loop. Only Began and Transferred may
// be called by any goroutine at any time. While a net.Conn is attached, the
// *tls.Conn may be used as crypto/tls allows.
type TLS struct {
	conn  *tls.Conn
	nc    net.Conn // nil in loop mode
	local net.Addr
	peer  net.Addr

	fed   []byte // ciphertext that crypto/tls has not read yet
	out   []byte // ciphertext that crypto/tls wrote and nobody took yet
	final error  // what Open returns from now on

	read, wrote atomic.Int64 // bytes moved over an attached net.Conn

	record  record // where in the stream of records crypto/tls reads
	began   bool   // there were early bytes
	ended   bool   // no ciphertext follows what was fed
	asked   bool   // crypto/tls has read the wire since Detach, so that it holds no whole record
	drained bool   // crypto/tls holds no plaintext either
}

// Server returns the TLS of a connection that a client opened. nc is read after
// early: bytes of the client that were read already, of which Server makes a
// copy. cfg is not changed.
func Server(nc net.Conn, early []byte, cfg *tls.Config) *TLS {
	t := newTLS(nc)
	t.fed, t.began = slices.Clone(early), len(early) > 0
	t.conn = tls.Server((*wire)(t), cfg)
	return t
}

// Client returns the TLS of a connection that was dialled. nc is read after early,
// of which Client makes a copy. cfg is not changed.
// Renegotiation, which TLS 1.2 has, is refused whatever cfg says: it is a
// handshake, and a loop cannot wait for one.
func Client(nc net.Conn, early []byte, cfg *tls.Config) *TLS {
	if cfg.Renegotiation != tls.RenegotiateNever {
		cfg = cfg.Clone()
		cfg.Renegotiation = tls.RenegotiateNever
	}
	t := newTLS(nc)
	t.fed = slices.Clone(early)
	t.conn = tls.Client((*wire)(t), cfg)
	return t
}

func newTLS(nc net.Conn) *TLS {
	return &TLS{nc: nc, local: nc.LocalAddr(), peer: nc.RemoteAddr()}
}

// Of returns the TLS behind a *tls.Conn that this package made, or nil.
func Of(c net.Conn) *TLS {
	if c, ok := c.(*tls.Conn); ok {
		if w, ok := c.NetConn().(*wire); ok {
			return (*TLS)(w)
		}
	}
	return nil
}

// Handshake runs the handshake over the net.Conn and blocks until it ended. When
// ctx ends earlier, Handshake closes the net.Conn and returns the error of ctx.
// After an error only Began, Transferred and Conn may be called.
func (t *TLS) Handshake(ctx context.Context) error { return t.conn.HandshakeContext(ctx) }

// Began tells whether a byte of the peer was received. After a Handshake that
// failed it tells a peer that said nothing from one that broke the handshake.
func (t *TLS) Began() bool { return t.began || t.read.Load() > 0 }

// Conn returns the connection of crypto/tls. In loop mode nobody may read, write
// or close it.
func (t *TLS) Conn() *tls.Conn { return t.conn }

// State returns what the handshake agreed on.
func (t *TLS) State() tls.ConnectionState { return t.conn.ConnectionState() }

// Transferred returns how many bytes of ciphertext were read from and written to
// the net.Conns that were attached. Early bytes are not counted.
func (t *TLS) Transferred() (in, out int64) { return t.read.Load(), t.wrote.Load() }

// Detach begins loop mode: it forgets the net.Conn and returns it. Nobody may
// use the *tls.Conn at that moment. crypto/tls may have read more than it
// needed, so the caller calls Open until ErrMore before it waits for the socket.
func (t *TLS) Detach() net.Conn {
	nc := t.nc
	t.nc, t.asked, t.drained = nil, false, false
	return nc
}

// Attach ends loop mode: the *tls.Conn that it returns blocks, and reads,
// writes, and keeps its deadlines by nc. It reads first what Open has left, of
// which Attach makes a copy, and writes first what Output has left.
func (t *TLS) Attach(nc net.Conn) *tls.Conn {
	t.fed = slices.Clone(t.fed)
	t.nc, t.local, t.peer, t.ended = nc, nc.LocalAddr(), nc.RemoteAddr(), false
	return t.conn
}

// Attached returns the net.Conn that was attached last; nil in loop mode.
func (t *TLS) Attached() net.Conn { return t.nc }

// Feed gives ciphertext that came from the socket. Open reads it where it lies:
// the caller may not change it until Open returned something other than nil, or
// Unread was called. Feed costs a copy if an earlier Feed was not read to its end.
func (t *TLS) Feed(cipher []byte) {
	switch {
	case t.final != nil: // nobody will read it
	case len(t.fed) == 0:
		t.fed = cipher
	default:
		t.fed = append(slices.Clip(t.fed), cipher...)
	}
}

// Unread returns the end of what was fed that Open has not read yet, and forgets
// it. A caller that stops calling Open for a while, because it pauses reading,
// keeps these bytes and feeds them again before any others. Open may still have
// plaintext to give.
func (t *TLS) Unread() []byte {
	rest := t.fed
	t.fed = nil
	return rest
}

// Ended says that the socket's stream has ended: no Feed follows.
func (t *TLS) Ended() { t.ended = true }

// Open decrypts what was fed into dst, which must not be empty, and returns how
// many bytes of plaintext it wrote: at least one, unless there is an error.
// ErrMore says that all that was fed is read and that more is needed. Every
// other error is final: io.EOF after the peer's close_notify (RFC 8446, section
// 6.1), io.ErrUnexpectedEOF when the stream ended without one, otherwise the
// error of crypto/tls; Output then has the alert. After each call Output may
// have something to send.
func (t *TLS) Open(dst []byte) (int, error) {
	if t.final != nil {
		return 0, t.final
	}
	if t.drained && len(t.fed) == 0 && !t.ended {
		return 0, ErrMore // crypto/tls would say the same, and allocate
	}
	n, err := t.conn.Read(dst)
	if n > 0 {
		// An error beside plaintext is returned by the next call.
		t.drained = t.asked && err == nil && n < len(dst)
		return n, nil
	}
	if t.drained = errors.Is(err, ErrMore); t.drained {
		return 0, err
	}
	if errors.Is(err, errTruncated) {
		err = io.ErrUnexpectedEOF
	}
	t.final, t.fed = err, nil
	return 0, err
}

// Output appends to dst what crypto/tls wrote by itself, such as alerts and
// answers to KeyUpdate, and forgets it. Seal and Shut do the same first.
func (t *TLS) Output(dst []byte) []byte {
	dst = append(dst, t.out...)
	t.out = nil
	return dst
}

// gathers has the memory in which Seal joins small pieces.
var gathers = sync.Pool{New: func() any { return new([recordBytesMax]byte) }}

// Seal encrypts pieces, one after the other, and appends the ciphertext to dst.
// It joins them, so that pieces make as few records as their bytes need. An
// error means that nothing more can be sent on this connection: its writing side
// was shut, or an alert was sent. dst is then what it was, and Output.
func (t *TLS) Seal(dst []byte, pieces [][]byte) (_ []byte, err error) {
	t.out = t.Output(dst)
	if len(pieces) == 1 {
		_, err = t.conn.Write(pieces[0])
	} else if len(pieces) > 1 {
		err = t.gather(pieces)
	}
	dst, t.out = t.out, nil
	return dst, err
}

// gather writes pieces in portions of whole records.
func (t *TLS) gather(pieces [][]byte) error {
	room := gathers.Get().(*[recordBytesMax]byte)
	defer gathers.Put(room)
	n := 0
	for _, p := range pieces {
		for len(p) > 0 {
			if whole := len(p) &^ (recordBytesMax - 1); n == 0 && whole > 0 {
				if _, err := t.conn.Write(p[:whole]); err != nil {
					return err
				}
				p = p[whole:]
				continue
			}
			k := copy(room[n:], p)
			if n, p = n+k, p[k:]; n < recordBytesMax {
				continue
			}
			if _, err := t.conn.Write(room[:n]); err != nil {
				return err
			}
			n = 0
		}
	}
	_, err := t.conn.Write(room[:n])
	return err
}

// Shut appends the close_notify alert to dst (RFC 8446, section 6.1). Nothing
// can be sealed after it; Open goes on. A second Shut appends nothing.
func (t *TLS) Shut(dst []byte) ([]byte, error) {
	t.out = t.Output(dst)
	err := t.conn.CloseWrite()
	dst, t.out = t.out, nil
	return dst, err
}

// Held returns how many bytes of memory wait in this TLS outside of crypto/tls:
// ciphertext that Open has not read yet, and output that nobody has taken. It is
// 0 when Open returned ErrMore and Output was called. The package comment says
// what crypto/tls holds.
func (t *TLS) Held() int { return len(t.fed) + cap(t.out) }
