package conformance

import (
	"fmt"
	"slices"
)

// validUTF8 are texts that RFC 3629 allows, the borders of its table among them.
var validUTF8 = []struct{ id, doc, s string }{
	{"ascii", "ASCII from 00 to 7F", "\x00\x01\t\n\r ~\x7f"},
	{"two-first", "U+0080, the first of two bytes", "\xc2\x80"},
	{"two-last", "U+07FF, the last of two bytes", "\xdf\xbf"},
	{"three-first", "U+0800, the first of three bytes", "\xe0\xa0\x80"},
	{"three-e0", "U+0FFF, the last under E0", "\xe0\xbf\xbf"},
	{"three-e1", "U+1000, the first under E1", "\xe1\x80\x80"},
	{"three-before-surrogates", "U+D7FF, the last before the surrogates", "\xed\x9f\xbf"},
	{"three-behind-surrogates", "U+E000, the first behind the surrogates", "\xee\x80\x80"},
	{"three-noncharacters", "U+FFFE and U+FFFF, which are no characters", "\xef\xbf\xbe\xef\xbf\xbf"},
	{"three-replacement", "U+FFFD, the replacement character", "\xef\xbf\xbd"},
	{"bom", "U+FEFF, the byte order mark, at the beginning", "\xef\xbb\xbftext"},
	{"four-first", "U+10000, the first of four bytes", "\xf0\x90\x80\x80"},
	{"four-f0", "U+3FFFF, the last under F0", "\xf0\xbf\xbf\xbf"},
	{"four-f1", "U+40000, the first under F1", "\xf1\x80\x80\x80"},
	{"four-last", "U+10FFFF, the last of all", "\xf4\x8f\xbf\xbf"},
	{"words", "words of several scripts", "\u03ba\u1f79\u03c3\u03bc\u03b5 \u65e5\u672c\u8a9e \u0440\u0443\u0441\u0441\u043a\u0438\u0439"},
	{"emoji", "emoji with joiners and modifiers", "\U0001f469\u200d\U0001f469\u200d\U0001f466 \U0001f44d\U0001f3fd"},
	{"combining", "combining marks", "e\u0301 a\u0308\u0323"},
}

// invalidUTF8 are byte sequences that RFC 3629 forbids. bad is the number of
// bytes after which nothing can save them.
var invalidUTF8 = []struct {
	id, doc, s string
	bad        int
}{
	{"lone-80", "a continuation byte alone", "\x80", 1},
	{"lone-bf", "the last continuation byte alone", "\xbf", 1},
	{"lone-behind", "a continuation byte too many", "\xc2\x80\x80", 3},
	{"lead-twice", "a lead byte behind a lead byte", "\xc3\xc3", 2},
	{"lead-space-2", "a lead byte of two bytes before a space", "\xc3 ", 2},
	{"lead-space-3", "a lead byte of three bytes before a space", "\xe1 ", 2},
	{"lead-space-4", "a lead byte of four bytes before a space", "\xf1 ", 2},
	{"short-3", "a code point of three bytes, its last replaced", "\xe1\x80a", 3},
	{"short-4", "a code point of four bytes, its last replaced", "\xf1\x80\x80a", 4},
	{"overlong-c0", "a slash in two bytes", "\xc0\xaf", 1},
	{"overlong-nul", "NUL in two bytes, as Java writes it", "\xc0\x80", 1},
	{"overlong-c1", "7F in two bytes", "\xc1\xbf", 1},
	{"overlong-e0", "a slash in three bytes", "\xe0\x80\xaf", 2},
	{"overlong-e0-last", "U+07FF in three bytes", "\xe0\x9f\xbf", 2},
	{"overlong-f0", "a slash in four bytes", "\xf0\x80\x80\xaf", 2},
	{"overlong-f0-last", "U+FFFF in four bytes", "\xf0\x8f\xbf\xbf", 2},
	{"overlong-f8", "a slash in five bytes", "\xf8\x80\x80\x80\xaf", 1},
	{"overlong-fc", "a slash in six bytes", "\xfc\x80\x80\x80\x80\xaf", 1},
	{"surrogate-first", "U+D800, the first surrogate", "\xed\xa0\x80", 2},
	{"surrogate-last", "U+DFFF, the last surrogate", "\xed\xbf\xbf", 2},
	{"surrogate-pair", "U+10000 as a pair of surrogates", "\xed\xa0\x80\xed\xb0\x80", 2},
	{"beyond-f4", "U+110000, beyond Unicode", "\xf4\x90\x80\x80", 2},
	{"beyond-f5", "the lead byte F5", "\xf5\x80\x80\x80", 1},
	{"beyond-f7", "the lead byte F7", "\xf7\xbf\xbf\xbf", 1},
	{"five", "a code point of five bytes", "\xf8\x88\x80\x80\x80", 1},
	{"six", "a code point of six bytes", "\xfd\xbf\xbf\xbf\xbf\xbf", 1},
	{"fe", "the byte FE", "\xfe", 1},
	{"ff", "the byte FF", "\xff", 1},
	{"latin", "Latin 1", "caf\xe9 au lait", 5},
	{"utf16", "UTF-16", "\xff\xfeh\x00i\x00", 1},
}

// cutUTF8 are texts that end inside a code point.
var cutUTF8 = []struct{ id, s string }{
	{"1-of-2", "\xc3"}, {"1-of-3", "\xe2"}, {"2-of-3", "\xe2\x82"},
	{"1-of-4", "\xf0"}, {"2-of-4", "\xf0\x9f"}, {"3-of-4", "\xf0\x9f\x98"},
}

// utf8Cases: text is UTF-8 (RFC 6455 §5.6, §8.1).
func utf8Cases() []Case {
	var cases []Case
	for _, v := range validUTF8 {
		cases = append(cases, newCase("8.1-valid-"+v.id, Must, v.doc+": echoed, whole, cut at each byte and byte by byte", func(t *T) {
			c := t.open()
			c.echo(opText, []byte(v.s))
			for i := range len(v.s) + 1 {
				c.send(text(v.s[:i]).part(), rest(v.s[i:]))
				c.wantMessage(opText, []byte(v.s))
			}
			c.send(fragments(opText, []byte(v.s), 1)...)
			c.wantMessage(opText, []byte(v.s))
			c.dribble(text(v.s).wire())
			c.wantMessage(opText, []byte(v.s))
		}))
	}
	for _, v := range invalidUTF8 {
		cases = append(cases,
			newCase("8.1-invalid-"+v.id, Must, v.doc+": 1007", func(t *T) {
				for _, s := range []string{v.s, "before " + v.s, v.s + " behind, and some more to fill a word or two", longASCII + v.s + longASCII} {
					c := t.open()
					c.send(text(s))
					c.wantClose(1007)
					c.drop()
				}
			}),
			newCase("8.1-invalid-fragments-"+v.id, Must, v.doc+", in fragments of one byte: 1007", func(t *T) {
				c := t.open()
				c.send(fragments(opText, []byte(v.s), 1)...)
				c.wantClose(1007)
			}))
	}
	for _, v := range cutUTF8 {
		cases = append(cases, newCase("8.1-incomplete-"+v.id, Must, "a text that ends inside a code point, whole and in fragments: 1007", func(t *T) {
			for _, frames := range [][]frame{
				{text(v.s)}, {text("before " + v.s)}, {text(longASCII + v.s)}, {text(v.s).part(), rest("")}, fragments(opText, []byte("ab"+v.s), 1),
			} {
				c := t.open()
				c.send(frames...)
				c.wantClose(1007)
				c.drop()
			}
		}))
	}
	return append(cases,
		newCase("8.1-separate", Must, "a code point cannot go over two messages: 1007", func(t *T) {
			c := t.open()
			c.send(text("\xe2\x82"), text("\xac"))
			c.wantClose(1007)
		}),
		newCase("8.1-unmasked-wins", Must, "an unmasked text that is no UTF-8: 1002", func(t *T) {
			c := t.open()
			c.send(frame{op: opText, payload: []byte("\xff"), bare: true})
			c.wantClose(1002)
		}))
}

// longASCII is long enough for the fast path of any validator.
const longASCII = "sixty-four bytes of plain text, behind and before the bad byte, "

// utf8FailFastCases: what cannot become UTF-8 is refused as soon as it shows.
func utf8FailFastCases() []Case {
	var cases []Case
	for _, v := range invalidUTF8 {
		bad := v.s[:v.bad]
		cases = append(cases,
			newCase("8.1-early-message-"+v.id, Should, v.doc+", in a message that does not end: 1007", func(t *T) {
				c := t.open()
				c.send(text(bad).part())
				c.wantClose(1007)
			}),
			newCase("8.1-early-frame-"+v.id, Convention, v.doc+", in a frame that does not end: 1007", func(t *T) {
				c := t.open()
				wire := frame{op: opText, payload: []byte("ab" + bad), announce: 100}.wire()
				c.write(wire)
				c.wantClose(1007)
			}))
	}
	return slices.Concat(cases, []Case{
		newCase("8.1-early-split", Should, "an invalid second byte in the second fragment of an unfinished message: 1007", func(t *T) {
			c := t.open()
			c.send(text("\xf4").part(), rest("\x90").part())
			c.wantClose(1007)
		}),
		newCase("8.1-early-ping", Should, "an invalid second byte behind a ping, in an unfinished message: 1007", func(t *T) {
			c := t.open()
			c.send(text("\xed").part(), ping("between"), rest("\xa0").part())
			c.wantPong([]byte("between"))
			c.wantClose(1007)
		}),
		newCase("8.1-early-frames", Convention, "an invalid byte in the middle of an unfinished frame, byte by byte: 1007", func(t *T) {
			c := t.open()
			c.dribble(frame{op: opText, payload: []byte("all is well \xce\xba\xff"), announce: 1 << 12}.wire())
			c.wantClose(1007)
		}),
		newCase("8.1-patient", Must, "what may still become UTF-8 is waited for", func(t *T) {
			for _, v := range cutUTF8 {
				c := t.open()
				c.send(text(v.s).part(), ping(fmt.Sprint(len(v.s))))
				c.wantPong([]byte(fmt.Sprint(len(v.s))))
				c.drop()
			}
		}),
	})
}
