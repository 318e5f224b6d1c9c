package conformance

import (
	"bytes"
	"io"
	"strconv"

	"github.com/klauspost/compress/flate"

	"github.com/sockmill/sockmill/protocol"
)

// serverDeflate is permessage-deflate of the reference server, on the readers
// and writers of a library: it shares nothing with the suite's own inflater.
type serverDeflate struct {
	s                        *reference
	serverReset, clientReset bool
	out                      bytes.Buffer
	w                        *flate.Writer
	history                  []byte // of the client's messages
}

// negotiate accepts the first good offer.
func (s *reference) negotiate(offers []protocol.Extension) (answer string, d *serverDeflate) {
	for _, o := range offers {
		if o.Name != "permessage-deflate" {
			continue
		}
		if answer, d := s.offer(o); d != nil {
			return answer, d
		}
		if s.is("first offer only") {
			break
		}
	}
	return "", nil
}

func (s *reference) offer(o protocol.Extension) (string, *serverDeflate) {
	d := &serverDeflate{s: s}
	bits := 15
	answer := protocol.Extension{Name: o.Name}
	seen := map[string]bool{}
	for _, p := range o.Params {
		n, err := strconv.Atoi(p.Value)
		good := err == nil && n >= 8 && n <= 15 && strconv.Itoa(n) == p.Value
		switch {
		case seen[p.Name]:
			return "", nil
		case p.Name == "server_no_context_takeover" && !p.Valued:
			d.serverReset = true
			answer.Params = append(answer.Params, p)
		case p.Name == "client_no_context_takeover" && !p.Valued:
			d.clientReset = true
			answer.Params = append(answer.Params, p)
		case p.Name == "server_max_window_bits" && good:
			bits = n
			answer.Params = append(answer.Params, p)
		case p.Name == "client_max_window_bits" && (good || !p.Valued):
		case s.is("unknown parameters"):
		default:
			return "", nil
		}
		seen[p.Name] = true
	}
	if s.is("client_max_window_bits unasked") {
		answer.Params = append(answer.Params, protocol.Param{Name: "client_max_window_bits", Value: "12", Valued: true})
	}
	if s.is("window bits") {
		bits = 15
	}
	d.w = newWriter(&d.out, bits)
	return string(protocol.AppendExtension(nil, answer)), d
}

// compress keeps its window from message to message unless that was ruled out.
func (d *serverDeflate) compress(message []byte) []byte {
	if d.serverReset && !d.s.is("server_no_context_takeover") {
		d.w.Reset(&d.out)
	}
	return compress(d.w, &d.out, message)
}

// inflate decodes a message stream by stream: the library stops at BFINAL. An
// empty block with BFINAL behind the message tells a proper end from a cut.
func (d *serverDeflate) inflate(message []byte) ([]byte, error) {
	if d.clientReset || d.s.is("client's window") {
		d.history = nil
	}
	begun := len(d.history)
	data := bytes.NewReader(append(message, 0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff))
	for data.Len() > 0 {
		room := int64(messageMax - (len(d.history) - begun) + 1)
		dict := d.history[max(0, len(d.history)-32<<10):]
		b, err := io.ReadAll(io.LimitReader(flate.NewReaderDict(data, dict), room))
		d.history = append(d.history, b...)
		if int64(len(b)) == room {
			return nil, fault(protocol.CloseMessageTooBig)
		}
		if err != nil {
			if d.s.is("corrupt data") {
				return nil, fault(protocol.CloseProtocolError)
			}
			return nil, fault(protocol.CloseInvalidPayload)
		}
		if d.s.is("BFINAL ends") {
			break
		}
	}
	out := bytes.Clone(d.history[begun:])
	d.history = bytes.Clone(d.history[max(0, len(d.history)-32<<10):])
	return out, nil
}
