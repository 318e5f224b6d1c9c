package codec_test

import (
	"strings"
	"testing"
)

func TestRFC6455Section5_4_Fragmentation(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{frame(0x01, "Hel") + frame(0x80, "lo"), `text "Hello"`},
		{frame(0x02, "\xff") + frame(0x00, "\xfe") + frame(0x00, "\xfd") + frame(0x80, "\xfc"), `binary "\xff\xfe\xfd\xfc"`},
		{frame(0x01, "") + frame(0x80, ""), `text ""`},
		{frame(0x01, "") + frame(0x00, "") + frame(0x80, "x"), `text "x"`},
		{frame(0x01, "x") + frame(0x00, "") + frame(0x80, ""), `text "x"`},
		{frame(0x02, text(200)) + frame(0x80, text(70000)), show("binary", []byte(text(200)+text(70000)))},
		{frame(0x01, "a") + frame(0x80, "b") + frame(0x82, "c") + frame(0x02, "d") + frame(0x80, "e"), `text "ab"; binary "c"; binary "de"`},

		// Control frames may come in between, and in pieces.
		{frame(0x01, "a") + frame(0x89, "x") + frame(0x80, "b"), `ping "x"; > pong "x"; text "ab"`},
		{frame(0x01, "a") + frame(0x89, "") + frame(0x8a, "y") + frame(0x00, "") + frame(0x89, "z") + frame(0x80, ""),
			`ping ""; > pong ""; pong "y"; ping "z"; > pong "z"; text "a"`},
		{frame(0x01, "\xe2\x82") + frame(0x89, text(125)) + frame(0x80, "\xac"),
			show("ping", []byte(text(125))) + "; > " + show("pong", []byte(text(125))) + `; text "€"`},
		{frame(0x01, "a") + frame(0x88, "\x03\xe9bye") + frame(0x80, "b"), `closed 1001 "bye"; > close 1001`},
	} {
		wants(t, limits(), tt.in, tt.want)
	}
}

func TestRFC6455Section5_4_Order(t *testing.T) {
	for _, first := range []byte{0x80, 0x00} {
		violates(t, limits(), "", frame(first, "stray"), 2, "1002")
		violates(t, limits(), frame(0x81, "whole"), frame(first, "stray"), 2, "1002")
		violates(t, limits(), frame(0x01, "a")+frame(0x80, "b"), frame(first, "stray"), 2, "1002")
		violates(t, limits(), frame(0x89, "ping"), frame(first, ""), 2, "1002")
	}
	for _, first := range []byte{0x81, 0x82, 0x01, 0x02} {
		violates(t, limits(), frame(0x01, "a"), frame(first, "new"), 2, "1002")
		violates(t, limits(), frame(0x02, "")+frame(0x00, ""), frame(first, ""), 2, "1002")
		violates(t, limits(), frame(0x02, "a")+frame(0x89, "x"), frame(first, "new"), 2, "1002")
	}
}

// Many messages in one segment come out one by one and leave nothing behind.
func TestRFC6455Section5_4_ManyInOneSegment(t *testing.T) {
	const n = 50
	in := strings.Repeat(frame(0x81, "a")+frame(0x01, "b")+frame(0x89, "")+frame(0x80, "c"), n)
	want := strings.Repeat(`text "a"; ping ""; > pong ""; text "bc"; `, n)
	wants(t, limits(), in, strings.TrimSuffix(want, "; "))
}
