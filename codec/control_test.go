package codec_test

import "testing"

func TestRFC6455Section5_5_Control(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{frame(0x89, ""), `ping ""; > pong ""`},
		{frame(0x89, "\xff\x00"), `ping "\xff\x00"; > pong "\xff\x00"`},
		{frame(0x89, text(125)), show("ping", []byte(text(125))) + "; > " + show("pong", []byte(text(125)))},
		{frame(0x8a, "unsolicited") + frame(0x8a, ""), `pong "unsolicited"; pong ""`},
		{frame(0x89, "a") + frame(0x89, "b") + frame(0x8a, "c"), `ping "a"; > pong "a"; ping "b"; > pong "b"; pong "c"`},
	} {
		wants(t, limits(), tt.in, tt.want)
	}
}

func TestRFC6455Section5_5_Violations(t *testing.T) {
	for _, before := range []string{"", frame(0x01, "a")} {
		for _, opcode := range []byte{0x08, 0x09, 0x0a} {
			violates(t, limits(), before, frame(opcode, ""), 2, "1002")                // fragmented
			violates(t, limits(), before, frame(0x80|opcode, text(126)), 2, "1002")    // too long
			violates(t, limits(), before, header(0x80|opcode, 0x80, 65536), 2, "1002") // far too long
		}
	}
}

// A control frame never counts towards the limits of a message.
func TestRFC6455Section5_5_OutsideTheLimits(t *testing.T) {
	o := limits()
	o.MessageBytesMax, o.FragmentsMax = 4, 2
	ping, pong := frame(0x89, "longer than 4"), `ping "longer than 4"; > pong "longer than 4"; `
	wants(t, o, frame(0x01, "ab")+ping+ping+ping+frame(0x80, "cd"), pong+pong+pong+`text "abcd"`)
}
