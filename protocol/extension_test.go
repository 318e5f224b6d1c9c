package protocol_test

import (
	"reflect"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

type (
	ext   = protocol.Extension
	param = protocol.Param
)

func extensionFields(values ...string) protocol.Fields {
	f := protocol.Fields{{Name: "Host", Value: "a;b"}}
	for _, v := range values {
		f = append(f, protocol.Field{Name: "sec-websocket-extensions", Value: v})
	}
	return f
}

func TestRFC6455Section9_1_Extensions(t *testing.T) {
	deflate := ext{Name: "permessage-deflate"}
	for _, tt := range []struct {
		values []string
		want   []ext
		wire   string
	}{
		{nil, nil, ""},
		{[]string{"permessage-deflate"}, []ext{deflate}, "permessage-deflate"},
		{[]string{"permessage-deflate; client_max_window_bits; server_max_window_bits=10"},
			[]ext{{"permessage-deflate", []param{{"client_max_window_bits", "", false}, {"server_max_window_bits", "10", true}}}},
			"permessage-deflate; client_max_window_bits; server_max_window_bits=10"},
		{[]string{"a;b=\"c\" , d"}, []ext{{"a", []param{{"b", "c", true}}}, {"d", nil}}, "a; b=c, d"},
		{[]string{"a", "b;c", "a"}, []ext{{"a", nil}, {"b", []param{{"c", "", false}}}, {"a", nil}}, "a, b; c, a"},
		{[]string{" \ta ;\tb\t=\t\"1\\0\" ,\t"}, []ext{{"a", []param{{"b", "10", true}}}}, "a; b=10"},
		{[]string{",, a,, ,b,"}, []ext{{"a", nil}, {"b", nil}}, "a, b"},
		{[]string{"", "a"}, []ext{{"a", nil}}, "a"},
		{[]string{"a;b;b;b=1"}, []ext{{"a", []param{{"b", "", false}, {"b", "", false}, {"b", "1", true}}}}, "a; b; b; b=1"},
	} {
		got, err := protocol.ParseExtensions(extensionFields(tt.values...))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v, %v", tt.values, got, err)
		}
		if wire := appendExtensions(got); wire != tt.wire {
			t.Errorf("%q is written as %q, want %q", tt.values, wire, tt.wire)
		}
	}
}

func appendExtensions(list []ext) string {
	var wire []byte
	for i, e := range list {
		if i > 0 {
			wire = append(wire, ", "...)
		}
		wire = protocol.AppendExtension(wire, e)
	}
	return string(wire)
}

func TestRFC6455Section9_1_MalformedExtensions(t *testing.T) {
	for _, value := range []string{
		"", " ", ",", ";", "=", ";a", "a;", "a;;b", "a; ;b", "a;b;", "a;b=", "a;b= ", "a;b=;c", "a;=b", "a;b==c", "a=b", "a b", "a;b c",
		"a;b=c d", "a;b=c=d", "a/b", "a;b/c", "a;b=c/d", "\"a\"", "a;\"b\"", "a;b=\"", "a;b=\"\"", "a;b=\"c", "a;b=\"c\\\"",
		"a;b=\"c\\", "a;b=\"c\\\\d\"", "a;b=\"c d\"", "a;b=\"c\"d", "a;b=\"c\"\"d\"", "a;b=\"c\\ d\"", "a;b=\"c,d\"", "a;b=c\"d\"",
		"a;b=\"ä\"", "ä", "a;b=\"\\ä\"", "a, b;", "a;, b", "a;b=\"\\\"\"",
	} {
		if list, err := protocol.ParseExtensions(extensionFields(value)); err == nil {
			t.Errorf("%q is read as %+v", value, list)
		} else {
			wantStatus(t, err, 400)
		}
		if value != "" && value != " " && value != "," {
			_, err := protocol.ParseExtensions(extensionFields("x", value))
			wantStatus(t, err, 400)
		}
	}
}

func FuzzExtensions(f *testing.F) {
	f.Fuzz(func(t *testing.T, a, b string) {
		list, err := protocol.ParseExtensions(extensionFields(a, b))
		if err != nil {
			wantStatus(t, err, 400)
			return
		}
		wire := appendExtensions(list)
		again, err := protocol.ParseExtensions(extensionFields(wire))
		if err != nil || !reflect.DeepEqual(again, list) {
			t.Fatalf("%q, %q: %+v, written as %q, is read as %+v, %v", a, b, list, wire, again, err)
		}
	})
}
