package conformance

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/flate"
)

// deflate is the client's side of an agreed permessage-deflate (RFC 7692 §7).
type deflate struct {
	serverReset, clientReset bool
	serverBits, clientBits   int

	in  inflater
	out bytes.Buffer
	w   *flate.Writer
}

func newDeflate(answer, offer extension) *deflate {
	d := &deflate{
		serverReset: answer.has(serverReset),
		clientReset: answer.has(clientReset),
		serverBits:  answer.bits(serverBits),
		clientBits:  min(answer.bits(clientBits), offer.bits(clientBits)),
	}
	d.in.window = 1 << d.serverBits
	d.w = newWriter(&d.out, d.clientBits)
	return d
}

// newWriter returns a compressor with a window of 2^bits bytes.
func newWriter(out *bytes.Buffer, bits int) *flate.Writer {
	w, err := flate.NewWriterWindow(out, 1<<bits)
	if err != nil {
		panic(err) // windows of 8 to 15 bits are legal
	}
	return w
}

// unpack inflates a message from the server.
func (d *deflate) unpack(payload []byte) ([]byte, error) {
	if d.serverReset {
		d.in.forget()
	}
	return d.in.message(payload)
}

// pack compresses a message to the server (RFC 7692 §7.2.1).
func (d *deflate) pack(payload []byte) []byte {
	if d.clientReset {
		d.w.Reset(&d.out)
	}
	return compress(d.w, &d.out, payload)
}

// compress writes payload, flushes and cuts off the 00 00 ff ff of the flush.
func compress(w *flate.Writer, out *bytes.Buffer, payload []byte) []byte {
	out.Reset()
	if _, err := w.Write(payload); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	if err := w.Flush(); err != nil {
		panic(err)
	}
	return bytes.Clone(bytes.TrimSuffix(out.Bytes(), []byte{0, 0, 0xff, 0xff}))
}

// packed is a compressed message in one frame.
func packed(op byte, payload []byte) frame { return frame{op: op, rsv: rsv1, payload: payload} }

// openDeflate opens a connection with the offer accepted. The case is skipped if
// the server declines it.
func (t *T) openDeflate(offer string) *conn {
	c := t.open("Sec-WebSocket-Extensions: " + offer)
	if c.deflate = t.agreed(c.reply, offer); c.deflate != nil {
		return c
	}
	if offer != deflateName {
		t.needDeflate()
		t.Skipf("the server declines %q", offer)
	}
	t.Skipf("the server does not negotiate permessage-deflate")
	return nil
}

// openTakeover opens a connection on which the client's messages may reach back
// into earlier ones. Some servers grant that only within a smaller window.
func (t *T) openTakeover() *conn {
	for _, offer := range []string{deflateName, deflateName + "; " + clientBits} {
		if c := t.openDeflate(offer); !c.deflate.clientReset {
			return c
		}
	}
	t.Skipf("the server asks for %s", clientReset)
	return nil
}

// needDeflate skips the case if the server does not even accept the plain offer.
func (t *T) needDeflate() { t.openDeflate(deflateName).drop() }

// echoPacked sends a message compressed and expects it back.
func (c *conn) echoPacked(op byte, payload []byte) {
	c.send(packed(op, c.deflate.pack(payload)))
	c.wantMessage(op, payload)
}

// echoSizes sends messages of growing sizes, made by fill, each compressed.
func (c *conn) echoSizes(fill func(n int) []byte, sizes ...int) {
	for _, n := range sizes {
		payload := fill(n)
		wire := packed(opBinary, c.deflate.pack(payload)).wire()
		c.stream(func(yield func([]byte) bool) { yield(wire) })
		c.wantMessage(opBinary, payload)
	}
}

// offerOf returns the offer with the window parameter.
func offerOf(name string, bits int) string { return fmt.Sprintf("%s; %s=%d", deflateName, name, bits) }
