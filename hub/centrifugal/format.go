package centrifugal

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	cf "github.com/centrifugal/protocol"
	"github.com/centrifugal/protocol/cfjson"

	"github.com/sockmill/sockmill/engine"
)

// format is one of the two wire formats, as hub.Connect.Format.
type format uint8

const (
	formatJSON     format = iota // one JSON object a line, in text messages
	formatProtobuf               // each message behind its length, a varint, in binary messages
	formats
)

// nestingMax is how deep arrays and objects of JSON may be nested, the command itself included.
const nestingMax = 512

var (
	errMalformed = errors.New("centrifugal: malformed frame")
	errCommands  = errors.New("centrifugal: too many commands in a frame")
)

func (f format) messageType() engine.MessageType {
	if f == formatProtobuf {
		return engine.Binary
	}
	return engine.Text
}

func (f format) message(data []byte) engine.Message {
	return engine.Message{Type: f.messageType(), Data: data}
}

// ping is an empty reply.
func (f format) ping() []byte { return f.append(nil, &cf.Reply{}) }

// isPong reports whether a frame is one empty command, as the clients answer a ping.
func (f format) isPong(frame []byte) bool {
	if f == formatProtobuf {
		return len(frame) == 1 && frame[0] == 0
	}
	return string(frame) == "{}"
}

// append appends a reply to a frame. The raw values in r are from raw, or were decoded in the same format.
func (f format) append(frame []byte, r *cf.Reply) []byte {
	if f == formatJSON {
		if len(frame) > 0 {
			frame = append(frame, '\n')
		}
		return r.AppendJSON(frame)
	}
	n := r.SizeCF()
	frame = binary.AppendUvarint(slices.Grow(frame, binary.MaxVarintLen64+n), uint64(n))
	at := len(frame)
	frame = frame[:at+n]
	if _, err := r.MarshalToSizedBufferCF(frame[at:]); err != nil {
		panic(err) // it fails only if the size is wrong
	}
	return frame
}

// raw makes data a value of this format. What is not JSON is a string of base64 in JSON.
func (f format) raw(data []byte) cf.Raw {
	if f == formatProtobuf || len(data) == 0 || cfjson.Valid(data) && !deeper(data, nestingMax) {
		return data
	}
	n := base64.StdEncoding.EncodedLen(len(data))
	text := make([]byte, n+2)
	text[0], text[n+1] = '"', '"'
	base64.StdEncoding.Encode(text[1:], data)
	return text
}

// decode decodes all commands of a frame, of which there is at least one. What it returns may refer to the frame.
func (f format) decode(frame []byte, commandsMax int) ([]*cf.Command, error) {
	if f == formatProtobuf {
		return decodeProtobuf(frame, commandsMax)
	}
	n := bytes.Count(frame, []byte{'\n'}) + 1
	if n > commandsMax+1 {
		return nil, errCommands
	}
	if deeper(frame, nestingMax) {
		return nil, errMalformed
	}
	d := cf.NewJSONCommandDecoder(frame)
	all := make([]*cf.Command, 0, n)
	for {
		c, err := d.Decode()
		if c == nil {
			return nil, errMalformed
		}
		if len(all) == commandsMax {
			return nil, errCommands
		}
		if all = append(all, c); errors.Is(err, io.EOF) {
			return all, nil
		}
	}
}

func decodeProtobuf(frame []byte, commandsMax int) (all []*cf.Command, err error) {
	if len(frame) == 0 {
		return nil, errMalformed
	}
	for len(frame) > 0 {
		size, n := binary.Uvarint(frame)
		if n <= 0 || size > uint64(len(frame)-n) {
			return nil, errMalformed
		}
		if len(all) == commandsMax {
			return nil, errCommands
		}
		c := new(cf.Command)
		if c.UnmarshalCF(frame[n:n+int(size)]) != nil {
			return nil, errMalformed
		}
		all, frame = append(all, c), frame[n+int(size):]
	}
	return all, nil
}

// deeper reports whether arrays and objects in JSON are nested deeper than levels. Of several values, each counts for
// itself. What is not JSON has any depth.
func deeper(text []byte, levels int) bool {
	if bytes.Count(text, []byte{'{'})+bytes.Count(text, []byte{'['}) <= levels {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > levels {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
