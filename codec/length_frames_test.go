package codec_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// counted is a payload with its length in front.
func counted(payload string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(4+len(payload)))) + payload
}

func TestFrames(t *testing.T) {
	ten := chaos(10)
	for in, want := range map[string]string{
		"":                                  "0 kept",
		"\x00\x00\x00\x09hello":             `binary "hello"; 0 kept`,
		"\x00\x00\x00\x04\x00\x00\x00\x05a": `binary ""; binary "a"; 0 kept`,
		counted(ten) + counted("") + "\x00": show("binary", []byte(ten)) + `; binary ""; 1 kept`,
		"\x00\x00\x00":                      "3 kept",
		"\x00\x00\x00\x05":                  "4 kept",
		counted("a") + "\x00\x00\x00\x0e" + ten[:9]: `binary "a"; 13 kept`,
		counted("a") + counted(ten+"x"):             `binary "a"; closed by this side: 1009: codec: a message of 11 bytes: the limit is 10; 0 kept`,
		"\xff\xff\xff\xff" + ten + ten:              "closed by this side: 1009: codec: a message of 4294967291 bytes: the limit is 10; 0 kept",
		"\x80\x00\x00\x00" + ten + ten:              "closed by this side: 1009: codec: a message of 2147483644 bytes: the limit is 10; 0 kept",
		counted("a") + "\x00\x00\x00\x00" + ten:     `binary "a"; closed by this side: 1002: codec: the length of a frame is 0: it counts its own 4, so it must be at least 4; 0 kept`,
		"\x00\x00\x00\x03" + ten:                    "closed by this side: 1002: codec: the length of a frame is 3: it counts its own 4, so it must be at least 4; 0 kept",
	} {
		anyCut(t, func() codec.Codec { return codec.NewFrames(10) }, in, want, heldMost(10))
	}
	const most = 70_000
	in := counted(text(most)) + counted("x") + counted(chaos(most-1)) + counted(text(most))[:most]
	anyCut(t, func() codec.Codec { return codec.NewFrames(most) }, in, framesOf(most, in), heldMost(most))
}

func TestFramesAreNotCopied(t *testing.T) {
	inPlace(t, codec.NewFrames(10), counted("hello"), 4, 5)

	// Nor if the length came before.
	c := codec.NewFrames(10)
	c.Decode(newEnv(), []byte(counted("hello")[:4]))
	inPlace(t, c, "hello", 0, 5)
}

func TestFramesRefuseBeforeKeeping(t *testing.T) {
	refused(t, codec.NewFrames(10), "\xff\xff\xff\xff", protocol.CloseMessageTooBig, "codec: a message of 4294967291 bytes: the limit is 10")
	refused(t, codec.NewFrames(10), "\x00\x00\x00\x0fxyz", protocol.CloseMessageTooBig, "codec: a message of 11 bytes: the limit is 10")
	refused(t, codec.NewFrames(10), "\x00\x00\x00\x03xyz", protocol.CloseProtocolError, "codec: the length of a frame is 3: it counts its own 4, so it must be at least 4")
}

// Memory follows the bytes that came, not the length that was announced.
func TestFramesMemoryGrowsWithInput(t *testing.T) {
	c, env := codec.NewFrames(math.MaxInt), newEnv()
	in := "\xff\xff\xff\xff" + text(40_000)
	moves, held := 0, 0
	for i := range len(in) {
		if ev, n := c.Decode(env, []byte{in[i]}); ev.Kind != codec.NeedMore || n != 1 {
			t.Fatalf("%+v, %d", ev, n)
		}
		if now := env.Buffers.LentBytes(); now != held {
			moves, held = moves+1, now
		}
		if i < 4 && held > 0 || held > max(512, 2*i) {
			t.Fatalf("%d bytes held after %d", held, i+1)
		}
	}
	if moves > 8 {
		t.Errorf("moved %d times", moves)
	}
	c.Release(env)
}

func TestFramesEncode(t *testing.T) {
	c := codec.NewFrames(1) // bounds what comes, not what is sent
	for _, op := range []protocol.Opcode{protocol.OpText, protocol.OpBinary} {
		if wire, err := c.Encode(nil, []byte("x"), op, []byte("hello"), false); err != nil || string(wire) != "x\x00\x00\x00\x09hello" {
			t.Errorf("%q, %v", wire, err)
		}
	}
	if got := units(t, c, "hello", "", chaos(300), text(70_000)); !slices.Equal(got, []int{9, 4, 304, 70_004}) {
		t.Errorf("%d", got)
	}

	// The first length without a form; nothing reads the message.
	memory, err := syscall.Mmap(-1, 0, 1<<32, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := c.Encode(nil, []byte("x"), protocol.OpBinary, memory[:1<<32-4], false)
	if want := "codec: a message of 4294967292 bytes: a frame holds at most 4294967291"; err == nil || err.Error() != want || string(wire) != "x" {
		t.Errorf("%q, %v", wire, err)
	}
	if err := syscall.Munmap(memory); err != nil {
		t.Error(err)
	}
}

func TestNoAllocationPerFrame(t *testing.T) {
	neverGrows(t, codec.NewFrames(math.MaxInt), counted(text(128))+counted("")+counted("x"), 1<<30, 3)
	neverGrows(t, codec.NewFrames(math.MaxInt), counted(text(128))+counted("")+counted("x"), 1, 3)
	neverGrows(t, codec.NewFrames(1<<20), counted(text(1<<20)), 64<<10, 1)
}

// framesOf is what messages of at most n bytes lead to, found in another way.
func framesOf(n int, input string) string {
	var log []string
	for len(input) >= 4 {
		length := int64(binary.BigEndian.Uint32([]byte(input)))
		switch {
		case length < 4:
			log = append(log, fmt.Sprintf("closed by this side: 1002: codec: the length of a frame is %d: it counts its own 4, so it must be at least 4", length))
			input = ""
		case length > int64(n)+4:
			log = append(log, fmt.Sprintf("closed by this side: 1009: codec: a message of %d bytes: the limit is %d", length-4, n))
			input = ""
		case length > int64(len(input)):
			return strings.Join(append(log, fmt.Sprintf("%d kept", len(input))), "; ")
		default:
			log = append(log, show("binary", []byte(input[4:length])))
			input = input[length:]
		}
	}
	return strings.Join(append(log, fmt.Sprintf("%d kept", len(input))), "; ")
}

// FuzzFrames is FuzzLines for frames.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(counted("hello")+counted("")+counted("\xff")+"\x00\x00"), uint8(20), uint64(1), uint8(0))
	f.Add([]byte(counted(text(11))+counted(text(12))), uint8(10), uint64(2), uint8(0))
	f.Add([]byte(counted("a")+"\xff\xff\xff\xff"+text(10)), uint8(255), uint64(3), uint8(0))
	f.Add([]byte(counted("a")+counted("b")+"\x00\x00\x00\x03"+text(10)), uint8(5), uint64(4), uint8(2))
	f.Fuzz(func(t *testing.T, in []byte, most uint8, cuts uint64, closeAfter uint8) {
		n := 1 + int(most)
		fuzzCuts(t, func() codec.Codec { return codec.NewFrames(n) }, string(in), framesOf(n, string(in)), n, cuts, int(closeAfter))
	})
}

func BenchmarkDecodeFrames(b *testing.B) {
	b.Run("128B", func(b *testing.B) { decodeAll(b, codec.NewFrames(1<<20), counted(text(128)), 1<<30, 128) })
	b.Run("1MiBin64KiB", func(b *testing.B) { decodeAll(b, codec.NewFrames(1<<20), counted(chaos(1<<20)), 64<<10, 1<<20) })
}
