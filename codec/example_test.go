package codec_test

import (
	"fmt"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// Lines of text, cut anywhere.
func ExampleLines() {
	c, env := codec.NewLines(64<<10), new(codec.Env)
	c.Start(env)
	for _, piece := range []string{"hel", "lo\r\nwor", "ld\n"} {
		for in := []byte(piece); ; {
			ev, n := c.Decode(env, in)
			if ev.Kind == codec.NeedMore {
				break
			}
			if ev.Kind == codec.Close {
				fmt.Println(env.Closed)
				return
			}
			in = in[n:]
			fmt.Printf("%s\n", ev.Data) // valid until the next call of c
		}
	}
	wire, err := c.Encode(env, nil, protocol.OpText, []byte("an answer"), false)
	fmt.Printf("%q %v\n", wire, err)
	c.Release(env)
	// Output:
	// hello
	// world
	// "an answer\n" <nil>
}

// Messages with their length in front. One that is too long is refused by its
// length alone.
func ExampleFrames() {
	c, env := codec.NewFrames(64<<10), new(codec.Env)
	c.Start(env)
	wire, err := c.Encode(env, nil, protocol.OpBinary, []byte("hello"), false)
	fmt.Printf("%q %v\n", wire, err)
	for in := []byte(string(wire) + "\xff\xff\xff\xff"); ; {
		ev, n := c.Decode(env, in)
		if ev.Kind == codec.NeedMore {
			break
		}
		if ev.Kind == codec.Close {
			fmt.Println(env.Closed)
			break
		}
		in = in[n:]
		fmt.Printf("%s\n", ev.Data) // valid until the next call of c
	}
	c.Release(env)
	// Output:
	// "\x00\x00\x00\thello" <nil>
	// hello
	// closed by this side: 1009: codec: a message of 4294967291 bytes: the limit is 65536
}
