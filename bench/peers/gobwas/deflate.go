package main

import (
	"bytes"
	"io"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/klauspost/compress/flate"

	"github.com/sockmill/sockmill/bench/peers/internal/peer"
)

type deflater struct {
	w   *wsflate.Writer
	out bytes.Buffer
}

var (
	deflaters = sync.Pool{New: func() any {
		d := &deflater{}
		d.w = wsflate.NewWriter(&d.out, func(w io.Writer) wsflate.Compressor {
			f, _ := flate.NewWriter(w, peer.DeflateLevel) // fails only for another level
			return f
		})
		return d
	}}
	inflaters = sync.Pool{New: func() any { return &inflater{r: flate.NewReader(nil)} }}
)

// inflater stands in for wsflate.Reader: it reads from memory, as an io.ByteReader.
type inflater struct {
	r  io.ReadCloser
	in bytes.Reader
}

// appendDeflated appends the frame of a compressed message. The payload may lie
// behind dst in the same memory.
func appendDeflated(dst []byte, op ws.OpCode, payload []byte) ([]byte, error) {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.out.Reset()
	d.w.Reset(&d.out)
	if _, err := d.w.Write(payload); err != nil {
		return dst, err
	}
	if err := d.w.Flush(); err != nil {
		return dst, err
	}
	return append(appendHeader(dst, op, 4, d.out.Len()), d.out.Bytes()...), nil
}

// tail is the end of the message's last block, which is not sent (RFC 7692 §7.2.1),
// and a final block.
const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

func inflate(b []byte) ([]byte, error) {
	i := inflaters.Get().(*inflater)
	defer inflaters.Put(i)
	i.in.Reset(append(b, tail...))
	if err := i.r.(flate.Resetter).Reset(&i.in, nil); err != nil {
		return nil, err
	}
	p, err := peer.ReadAll(io.LimitReader(i.r, peer.MessageBytesMax))
	return *p, err // not given back: a message is not always done with when it is answered
}
