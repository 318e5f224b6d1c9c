package codec_test

import (
	"fmt"
	"strings"
	"testing"
)

// text returns n bytes of ASCII, no two neighbours alike.
func text(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }

// chaos returns n bytes that are not UTF-8.
func chaos(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(255 - i*i)
	}
	return string(b)
}

func TestRFC6455Section5_2_Lengths(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		wants(t, limits(), frame(0x81, text(n))+frame(0x82, chaos(n)),
			show("text", []byte(text(n)))+"; "+show("binary", []byte(chaos(n))))
	}
}

func TestRFC6455Section5_2_LengthViolations(t *testing.T) {
	for _, tt := range []struct {
		wire string
		n    int
	}{
		{"\x81\xfe\x00\x00\x00\x00\x00\x00", 4},
		{"\x81\xfe\x00\x7d\x00\x00\x00\x00", 4},
		{"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00", 8},
		{"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 3}, // 2^63
		{"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 3},
	} {
		violates(t, limits(), "", tt.wire, tt.n, "1002")
		violates(t, limits(), frame(0x01, "a"), "\x80"+tt.wire[1:], tt.n, "1002")
	}
}

func TestRFC6455Section5_2_ReservedBits(t *testing.T) {
	for _, rsv := range []byte{0x40, 0x20, 0x10, 0x70} {
		for _, first := range []byte{0x81, 0x82, 0x01, 0x88, 0x89, 0x8a} {
			violates(t, limits(), "", frame(first|rsv, ""), 2, "1002")
		}
		violates(t, limits(), frame(0x01, "a"), frame(0x80|rsv, ""), 2, "1002")
	}
}

func TestRFC6455Section5_2_ReservedOpcodes(t *testing.T) {
	for _, opcode := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		violates(t, limits(), "", frame(0x80|opcode, "x"), 2, "1002")
		violates(t, limits(), frame(0x01, "a"), frame(opcode, "x"), 2, "1002")
	}
}

func TestRFC6455Section5_1_UnmaskedClient(t *testing.T) {
	for _, first := range []byte{0x81, 0x82, 0x01, 0x88, 0x89, 0x8a} {
		violates(t, limits(), "", bare(first, ""), 2, "1002")
		violates(t, limits(), frame(0x82, "fine"), bare(first, text(200)), 2, "1002")
	}
	violates(t, limits(), frame(0x01, "a"), bare(0x80, "b"), 2, "1002")
}

// The first fault of a header decides, also if a later one of it is there.
func TestRFC6455Section5_2_FirstFaultDecides(t *testing.T) {
	for _, wire := range []string{
		"\x81\x7e\x00\x01",                     // unmasked, and its length not minimal
		"\x89\xff\x80\x00",                     // a long ping, and its length negative
		"\x80\xfe\x00\x00",                     // a stray continuation, and its length not minimal
		"\xc1\xff\x00\x00\x00\x00\x00\x00\xff", // a reserved bit, and its length not minimal
	} {
		violates(t, limits(), "", wire, 2, "1002")
	}
}

// A masking key of four different bytes must be applied at the right offset
// wherever the payload is cut.
func TestRFC6455Section5_3_Unmasking(t *testing.T) {
	for n := range 40 {
		payload := chaos(n)
		wants(t, limits(), frame(0x82, payload)+frame(0x02, payload)+frame(0x80, payload),
			fmt.Sprintf("%s; %s", show("binary", []byte(payload)), show("binary", []byte(payload+payload))))
	}
}
