package nats

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sockmill/sockmill/hub/broker"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	for _, r := range []record{
		{},
		{Publication: broker.Publication{Kind: 255, Data: []byte("data")}},
		{Publication: broker.Publication{Info: &broker.Info{}}},
		{Publication: broker.Publication{Info: &broker.Info{Client: "c", User: "u", Conn: []byte("conn"), Channel: bytes.Repeat([]byte("x"), 300)}}},
		{Publication: broker.Publication{Tags: map[string]string{"": "", "a": "", "c": strings.Repeat("d", 300)}}},
		{Publication: broker.Publication{Except: []string{"", "a", "a", "\x00\xff"}}},
		{Publication: broker.Publication{Data: []byte{}}, Lifetime: time.Nanosecond},
		{Lifetime: 1<<63 - 1},
	} {
		if len(r.Data) == 0 {
			r.Data = nil
		}
		var got record
		if err := got.decode(r.encode(nil)); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v became %+v: %v", r, got, err)
		}
	}
}

// TestRecordPointsIntoMessage: the data is not copied, and nobody can append to it in place.
func TestRecordPointsIntoMessage(t *testing.T) {
	t.Parallel()
	data := append((&record{Publication: broker.Publication{Data: []byte("data")}}).encode(nil), "behind"...)
	data = data[:len(data)-len("behind")]
	var r record
	if err := r.decode(data); err != nil || &r.Data[0] != &data[len(data)-4] || cap(r.Data) != 4 {
		t.Errorf("%v: %q with room for %d", err, r.Data, cap(r.Data))
	}
}

func TestForeignRecords(t *testing.T) {
	t.Parallel()
	field := func(n protowire.Number, typ protowire.Type, value string) string {
		return string(protowire.AppendTag(nil, n, typ)) + value
	}
	const varint, text = protowire.VarintType, protowire.BytesType
	kind, data := field(fieldKind, varint, "\x07"), field(fieldData, text, "\x01x")
	for name, body := range map[string]string{
		"nothing":                  "",
		"JSON":                     `{"data":{}}`,
		"text":                     "hello",
		"another version":          "\x02" + data,
		"no version":               data,
		"zeros":                    "\x01\x00\x00",
		"a tag that is cut off":    "\x01\x80",
		"a varint that is cut off": "\x01" + field(fieldKind, varint, "\x80"),
		"a varint too long":        "\x01" + field(fieldKind, varint, strings.Repeat("\xff", 11)),
		"kind too large":           "\x01" + field(fieldKind, varint, "\x80\x02"),
		"kind as bytes":            "\x01" + field(fieldKind, text, "\x01x"),
		"kind twice":               "\x01" + kind + kind,
		"data before kind":         "\x01" + data + kind,
		"data that is cut off":     "\x01" + field(fieldData, text, "\x02x"),
		"data as varint":           "\x01" + field(fieldData, varint, "\x01"),
		"data of 2^63 bytes":       "\x01" + field(fieldData, text, "\xff\xff\xff\xff\xff\xff\xff\xff\x7fx"),
		"data as fixed32":          "\x01" + field(fieldData, protowire.Fixed32Type, "xxxx"),
		"a group":                  "\x01" + field(fieldData, protowire.StartGroupType, field(fieldData, protowire.EndGroupType, "")),
		"an unknown field":         "\x01" + field(7, text, "\x00"),
		"field 70":                 "\x01" + field(70, text, "\x00"),
		"info as varint":           "\x01" + field(fieldInfo, varint, "\x01"),
		"info with a fifth field":  "\x01" + field(fieldInfo, text, "\x02"+field(5, text, "\x00")),
		"info with a varint":       "\x01" + field(fieldInfo, text, "\x02"+field(1, varint, "\x01")),
		"a client that is cut off": "\x01" + field(fieldInfo, text, "\x02"+field(1, text, "\x01")),
		"a tag twice":              "\x01" + strings.Repeat(field(fieldTag, text, "\x03"+field(tagKey, text, "\x01a")), 2),
		"a tag with a third field": "\x01" + field(fieldTag, text, "\x02"+field(3, text, "\x00")),
		"a lifetime of 0":          "\x01" + field(fieldLifetime, varint, "\x00"),
		"a negative lifetime":      "\x01" + field(fieldLifetime, varint, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
		"too many tags":            string((&record{Publication: broker.Publication{Tags: manyTags()}}).encode(nil)),
		"too many of except":       string((&record{Publication: broker.Publication{Except: make([]string, exceptMax+1)}}).encode(nil)),
	} {
		var r record
		if err := r.decode([]byte(body)); !errors.Is(err, errForeign) {
			t.Errorf("%s: %v, became %.200v", name, err, r)
		}
	}
	for _, p := range []broker.Publication{{Tags: manyTags()}, {Except: make([]string, exceptMax+1)}} {
		if err := (&record{Publication: p}).check(); !errors.Is(err, broker.ErrTooLarge) {
			t.Errorf("check of too many: %v", err)
		}
	}
}

func manyTags() map[string]string {
	tags := map[string]string{}
	for i := range tagsMax + 1 {
		tags[string(rune(i))] = ""
	}
	return tags
}

// FuzzRecord: what can be read is what is written again.
func FuzzRecord(f *testing.F) {
	for _, r := range []record{
		{Publication: broker.Publication{Kind: 7, Data: []byte("data"), Info: &broker.Info{Client: "c", User: "u"}, Tags: map[string]string{"a": "b"}, Except: []string{"x", ""}}, Lifetime: time.Minute},
		{Publication: broker.Publication{Info: &broker.Info{Conn: []byte("conn"), Channel: []byte("channel")}}},
	} {
		f.Add(r.encode(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r, again record
		if r.decode(data) != nil {
			return
		}
		if err := again.decode(r.encode(nil)); err != nil || r.check() != nil {
			t.Fatalf("%+v cannot be read again: %v", r, err)
		}
		// An empty field is as good as none.
		for _, x := range []*record{&r, &again} {
			x.Data = append([]byte{}, x.Data...)
			if x.Info != nil {
				x.Info.Conn, x.Info.Channel = append([]byte{}, x.Info.Conn...), append([]byte{}, x.Info.Channel...)
			}
		}
		if !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}
