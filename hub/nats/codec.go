package nats

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sockmill/sockmill/hub/broker"
)

// record is what a message on a subject of a channel says.
//
// In bytes it is a byte with the version of the format, and then fields as Protocol Buffers have them. They come by rising numbers, and none
// but tag and except twice; a field that is zero is left out. So what is not ours is hardly ever taken for it.
type record struct {
	broker.Publication               // without a position: that is in the headers of the message, or of the stream
	Lifetime           time.Duration // broker.Keep.Lifetime; 0: as long as the stream keeps it
}

const recordVersion = 1

// The fields of a record, of its info, and of its tags.
const (
	fieldKind     protowire.Number = 1 // varint
	fieldInfo     protowire.Number = 2 // message
	fieldTag      protowire.Number = 3 // message, one for each
	fieldExcept   protowire.Number = 4 // bytes, one for each
	fieldLifetime protowire.Number = 5 // varint, nanoseconds
	fieldData     protowire.Number = 6 // bytes

	infoClient  protowire.Number = 1 // all of them bytes
	infoUser    protowire.Number = 2
	infoConn    protowire.Number = 3
	infoChannel protowire.Number = 4

	tagKey   protowire.Number = 1 // both bytes
	tagValue protowire.Number = 2
)

// How many Tags and Except a publication may have: what is read takes more memory than its bytes.
const (
	tagsMax   = 1024
	exceptMax = 65_536
)

var errForeign = errors.New("nats: not a message of this program")

// check fails with broker.ErrTooLarge if a record has more than can be read again.
func (r *record) check() error {
	if len(r.Tags) > tagsMax || len(r.Except) > exceptMax {
		return fmt.Errorf("%w: %d tags and %d connections that do not get it: there may be %d and %d", broker.ErrTooLarge, len(r.Tags), len(r.Except), tagsMax, exceptMax)
	}
	return nil
}

// encode appends a record to buf.
func (r *record) encode(buf []byte) []byte {
	buf = append(buf, recordVersion)
	buf = appendVarint(buf, fieldKind, uint64(r.Kind))
	if i := r.Info; i != nil {
		size := sizeBytes(len(i.Client)) + sizeBytes(len(i.User)) + sizeBytes(len(i.Conn)) + sizeBytes(len(i.Channel))
		buf = appendHead(buf, fieldInfo, size)
		buf = appendBytes(buf, infoClient, i.Client)
		buf = appendBytes(buf, infoUser, i.User)
		buf = appendBytes(buf, infoConn, i.Conn)
		buf = appendBytes(buf, infoChannel, i.Channel)
	}
	for key, value := range r.Tags {
		buf = appendHead(buf, fieldTag, sizeBytes(len(key))+sizeBytes(len(value)))
		buf = appendBytes(buf, tagKey, key)
		buf = appendBytes(buf, tagValue, value)
	}
	for _, client := range r.Except { // an empty one too
		buf = append(appendHead(buf, fieldExcept, len(client)), client...)
	}
	buf = appendVarint(buf, fieldLifetime, uint64(r.Lifetime))
	return appendBytes(buf, fieldData, r.Data)
}

func appendVarint(buf []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return buf
	}
	return protowire.AppendVarint(protowire.AppendTag(buf, n, protowire.VarintType), v)
}

func appendHead(buf []byte, n protowire.Number, size int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(buf, n, protowire.BytesType), uint64(size))
}

func appendBytes[T string | []byte](buf []byte, n protowire.Number, v T) []byte {
	if len(v) == 0 {
		return buf
	}
	return append(appendHead(buf, n, len(v)), v...)
}

// sizeBytes is how much appendBytes appends. All numbers of fields fit into one byte.
func sizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}

// decode reads a record, which points into data. It fails with errForeign.
func (r *record) decode(data []byte) error {
	*r = record{}
	if len(data) == 0 || data[0] != recordVersion {
		return errForeign
	}
	ok := fields(data[1:], varints, repeated, func(n protowire.Number, v uint64, bytes []byte) bool {
		switch n {
		case fieldKind:
			r.Kind = uint8(v)
			return v <= 255
		case fieldInfo:
			return r.decodeInfo(bytes)
		case fieldTag:
			return r.decodeTag(bytes)
		case fieldExcept:
			r.Except = append(r.Except, string(bytes))
			return len(r.Except) <= exceptMax
		case fieldLifetime:
			r.Lifetime = time.Duration(v)
			return r.Lifetime > 0
		default:
			r.Data = bytes
			return n == fieldData
		}
	})
	if !ok {
		return errForeign
	}
	return nil
}

func (r *record) decodeInfo(data []byte) bool {
	r.Info = &broker.Info{}
	return fields(data, 0, 0, func(n protowire.Number, _ uint64, bytes []byte) bool {
		switch n {
		case infoClient:
			r.Info.Client = string(bytes)
		case infoUser:
			r.Info.User = string(bytes)
		case infoConn:
			r.Info.Conn = bytes
		case infoChannel:
			r.Info.Channel = bytes
		}
		return n <= infoChannel
	})
}

func (r *record) decodeTag(data []byte) bool {
	var key, value string
	if !fields(data, 0, 0, func(n protowire.Number, _ uint64, bytes []byte) bool {
		if n == tagKey {
			key = string(bytes)
		} else {
			value = string(bytes)
		}
		return n <= tagValue
	}) {
		return false
	}
	if r.Tags == nil {
		r.Tags = map[string]string{}
	}
	if _, twice := r.Tags[key]; twice || len(r.Tags) == tagsMax {
		return false
	}
	r.Tags[key] = value
	return true
}

// varints and repeated are the fields of a record with these types. Those of info and of tags are neither.
const (
	varints  = 1<<fieldKind | 1<<fieldLifetime
	repeated = 1<<fieldTag | 1<<fieldExcept
)

// fields calls f with each field, and reports whether the data is well formed and f returned true each time. bytes is nil for a varint.
func fields(data []byte, varints, repeated uint64, f func(n protowire.Number, v uint64, bytes []byte) bool) bool {
	var last protowire.Number
	for len(data) > 0 {
		n, typ, size := protowire.ConsumeTag(data)
		if size < 0 || n > 63 || n < last || n == last && repeated>>n&1 == 0 {
			return false
		}
		data, last = data[size:], n
		var v uint64
		var bytes []byte
		switch {
		case typ == protowire.VarintType && varints>>n&1 == 1:
			v, size = protowire.ConsumeVarint(data)
		case typ == protowire.BytesType && varints>>n&1 == 0:
			bytes, size = protowire.ConsumeBytes(data)
		default:
			return false
		}
		if size < 0 || !f(n, v, bytes[:len(bytes):len(bytes)]) {
			return false
		}
		data = data[size:]
	}
	return true
}
