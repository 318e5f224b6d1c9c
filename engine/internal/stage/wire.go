package stage

import (
	"errors"
	"net"
	"time"
)

// errTruncated is what the wire says at the end of the stream. It is not io.EOF,
// because crypto/tls takes that for a close_notify where a record ends.
var errTruncated = errors.New("stage: the stream ended without close_notify")

// wouldBlock is the type of ErrMore. crypto/tls keeps every error of a read for
// ever, except after the handshake those that call themselves temporary.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "stage: more ciphertext is needed" }
func (wouldBlock) Timeout() bool   { return false }
func (wouldBlock) Temporary() bool { return true }

// A wire is a TLS as crypto/tls sees it: the net.Conn below.
type wire TLS

// Read gives what was fed, then reads the net.Conn. In loop mode it gives no
// more than the rest of one record, so that crypto/tls holds no second one.
func (w *wire) Read(p []byte) (n int, err error) {
	if w.asked = w.nc == nil; w.asked {
		switch {
		case len(w.fed) > 0:
			n = w.record.next(w.fed[:min(len(p), len(w.fed))])
			w.take(p[:n])
			return n, nil
		case w.ended:
			return 0, errTruncated
		}
		return 0, ErrMore
	}
	if len(w.fed) > 0 {
		n = min(len(p), len(w.fed))
		w.take(p[:n])
	} else {
		n, err = w.nc.Read(p)
		w.read.Add(int64(n))
	}
	for b := p[:n]; len(b) > 0; {
		b = b[w.record.next(b):]
	}
	return n, err
}

// take moves the first bytes that were fed to p.
func (w *wire) take(p []byte) {
	copy(p, w.fed)
	if w.fed = w.fed[len(p):]; len(w.fed) == 0 {
		w.fed = nil
	}
}

// Write never fails in loop mode: crypto/tls would keep the error for ever.
func (w *wire) Write(p []byte) (int, error) {
	if w.nc == nil {
		w.out = append(w.out, p...)
		return len(p), nil
	}
	if len(w.out) > 0 {
		n, err := w.nc.Write(w.out)
		w.wrote.Add(int64(n))
		if w.out = w.out[n:]; err != nil {
			return 0, err
		}
		w.out = nil
	}
	n, err := w.nc.Write(p)
	w.wrote.Add(int64(n))
	return n, err
}

// Close does nothing in loop mode: the socket belongs to the loop.
func (w *wire) Close() error {
	if w.nc == nil {
		return nil
	}
	return w.nc.Close()
}

// crypto/tls keeps tickets under the peer's address where the server has no
// name, and tickets arrive in loop mode, too.
func (w *wire) LocalAddr() net.Addr  { return w.local }
func (w *wire) RemoteAddr() net.Addr { return w.peer }

// crypto/tls sets deadlines of its own around close_notify, in loop mode, too.
func (w *wire) SetDeadline(d time.Time) error {
	if w.nc == nil {
		return nil
	}
	return w.nc.SetDeadline(d)
}

func (w *wire) SetReadDeadline(d time.Time) error {
	if w.nc == nil {
		return nil
	}
	return w.nc.SetReadDeadline(d)
}

func (w *wire) SetWriteDeadline(d time.Time) error {
	if w.nc == nil {
		return nil
	}
	return w.nc.SetWriteDeadline(d)
}

// A record finds the ends of records in a stream of them (RFC 8446, section
// 5.1): a head of five bytes, of which the last two are the length of the rest.
type record struct {
	left uint16 // of the rest, as far as the head is known
	head uint8  // bytes of the head that were seen
}

// next goes on with b, at most to the end of the record, and returns how many
// bytes of b that is.
func (r *record) next(b []byte) (n int) {
	for ; n < len(b) && r.head < 5; n++ {
		if r.head >= 3 {
			r.left = r.left<<8 | uint16(b[n])
		}
		r.head++
	}
	if k := min(len(b)-n, int(r.left)); r.head == 5 {
		n += k
		if r.left -= uint16(k); r.left == 0 {
			r.head = 0
		}
	}
	return n
}
