package codec_test

import "testing"

func TestRFC6455Section8_1_Text(t *testing.T) {
	// ASCII; two, three and four bytes; U+D7FF, U+E000, U+FFFF, U+10FFFF, U+FEFF, U+0000.
	const s = "aß€😀\ud7ff\ue000\uffff\U0010ffff\ufeff\x00"
	want := show("text", []byte(s))
	wants(t, limits(), frame(0x81, s), want)
	for n := range len(s) {
		wants(t, limits(), frame(0x01, s[:n])+frame(0x80, s[n:]), want)
		wants(t, limits(), frame(0x01, s[:n])+frame(0x00, "")+frame(0x89, "\xff")+frame(0x80, s[n:]), `ping "\xff"; > pong "\xff"; `+want)
	}
	wants(t, limits(), frame(0x82, "\xff\xc0")+frame(0x02, "\xff")+frame(0x80, "\xc0"), `binary "\xff\xc0"; binary "\xff\xc0"`)
}

// The 1007 comes with the first byte that cannot be, not with the end of the
// code point, the frame or the message.
func TestRFC6455Section8_1_FailFast(t *testing.T) {
	const header, extended = 6, 8
	for _, tt := range []struct {
		bad string
		n   int // bytes of it that give it away
	}{
		{"\xff", 1},
		{"\x80", 1},
		{"\xc0\x80", 1}, {"\xc1\xbf", 1}, // overlong
		{"\xe0\x80\x80", 2}, {"\xf0\x8f\xbf\xbf", 2},
		{"\xed\xa0\x80", 2},     // a surrogate
		{"\xf4\x90\x80\x80", 2}, // beyond U+10FFFF
		{"\xf5", 1},
		{"\xc3(", 2}, {"\xe2\x82(", 3}, {"\xf0\x9f\x98(", 4},
	} {
		rest := text(126)
		violates(t, limits(), "", frame(0x81, tt.bad+rest), extended+tt.n, "1007")
		violates(t, limits(), "", frame(0x01, "fine "+tt.bad+rest), extended+len("fine ")+tt.n, "1007")
		violates(t, limits(), frame(0x01, "fine")+frame(0x89, "x"), frame(0x00, tt.bad+rest), extended+tt.n, "1007")
		if split := tt.n - 1; split > 0 {
			violates(t, limits(), frame(0x01, tt.bad[:split])+frame(0x00, ""), frame(0x80, tt.bad[split:]+"."), header+1, "1007")
		}
	}
}

func TestRFC6455Section8_1_Unfinished(t *testing.T) {
	for _, cut := range []string{"\xc3", "\xe2\x82", "\xf0\x9f\x98"} {
		violates(t, limits(), "", frame(0x81, cut), len(frame(0x81, cut)), "1007")
		violates(t, limits(), frame(0x01, cut), frame(0x80, ""), 6, "1007")
		violates(t, limits(), frame(0x01, "a"), frame(0x80, cut), len(frame(0x80, cut)), "1007")
	}
	// The state of one message is not the next one's.
	wants(t, limits(), frame(0x02, "\xc3")+frame(0x80, "")+frame(0x01, "a")+frame(0x80, ""), `binary "\xc3"; text "a"`)
}
