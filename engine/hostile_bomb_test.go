package engine

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/sockmill/sockmill/protocol"
)

// bombLimit is what a message may inflate to in front of a bomb a hundred times
// as large.
const bombLimit = 1 << 20

// bombs are messages of zeros, compressed a thousandfold: whole and in
// fragments, finished or not. Each ends with 1009, at the price of the limit.
func bombs(s *siege) {
	var z bytes.Buffer
	w, _ := flate.NewWriter(&z, flate.BestCompression)
	zeros := make([]byte, 1<<20)
	for range 100 {
		_, _ = w.Write(zeros)
	}
	_ = w.Flush()
	payload := bytes.TrimSuffix(z.Bytes(), []byte("\x00\x00\xff\xff"))
	frame := func(first byte, p []byte) []byte {
		head := binary.BigEndian.AppendUint64([]byte{first, 0xff}, uint64(len(p)))
		if len(p) <= 0xffff {
			head = binary.BigEndian.AppendUint16([]byte{first, 0xfe}, uint16(len(p)))
		}
		return append(append(head, 0, 0, 0, 0), p...)
	}
	whole := frame(0xc2, payload)
	var fragmented []byte
	first := byte(0x42)
	for piece := range slices.Chunk(payload, 1000) {
		fragmented = append(fragmented, frame(first, piece)...)
		first = 0
	}
	fragmented = append(fragmented, "\x80\x80\x00\x00\x00\x00"...)
	for range s.n(3, 30) {
		for kind, wire := range map[string][]byte{"whole": whole, "fragmented": fragmented} {
			nc := s.connect()
			_, _ = io.WriteString(nc, upgradeHead("Sec-WebSocket-Extensions: permessage-deflate"))
			_, _ = nc.Write(wire)
			r, rest := s.response(nc)
			if r.StatusCode != http.StatusSwitchingProtocols || !strings.Contains(r.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
				s.t.Fatalf("%s: %s %v", kind, r.Status, r.Header)
			}
			if len(rest) < 4 || rest[0] != 0x88 || protocol.CloseCode(binary.BigEndian.Uint16([]byte(rest[2:]))) != protocol.CloseMessageTooBig {
				s.t.Errorf("%s: answered with %.40q, want a close frame with 1009", kind, rest)
			}
			_ = nc.Close()
		}
	}
}
