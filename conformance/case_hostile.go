package conformance

import (
	"strconv"
	"time"
)

// attack is a case after which a fresh client has to be served: nobody may spoil
// the server for the others.
func attack(id, doc string, run func(t *T)) Case {
	return newCase("10-hostile-"+id, Must, doc+": a fresh client is served", func(t *T) {
		run(t)
		t.fresh()
	})
}

// attackCases: many clients that do not behave.
func attackCases() []Case {
	return alone([]Case{
		attack("reset", "RST in mid-frame, fifty times", func(t *T) {
			for range 50 {
				c := t.open()
				c.write(frame{op: opText, payload: t.letters(100), announce: 1000}.wire())
				c.reset()
			}
		}),
		attack("reset-echo", "RST while a megabyte of echo is under way, ten times", func(t *T) {
			wire := bin(t.noise(1 << 20)).wire()
			for range 10 {
				c := t.open()
				c.write(wire)
				c.reset()
			}
		}),
		attack("reset-handshake", "RST in mid-handshake, fifty times", func(t *T) {
			for range 50 {
				c := t.dial()
				c.write([]byte("GET / HTTP/1.1\r\nHost: a\r\nUpgr"))
				c.reset()
			}
		}),
		attack("half-closed", "fifty clients that end their stream behind the handshake", func(t *T) {
			for range 50 {
				t.open().closeWrite()
			}
		}),
		newCase("10-hostile-half-closed-end", Should, "a client that ends its stream without a close frame: the server ends TCP", func(t *T) {
			c := t.open()
			c.wantSomeEnd(c.closeWrite)
		}),
		newCase("10-hostile-half-frame-end", Should, "a client that ends its stream in mid-frame: the server ends TCP", func(t *T) {
			c := t.open()
			c.write(frame{op: opText, payload: []byte("Hel"), announce: 1000}.wire())
			c.wantSomeEnd(c.closeWrite)
		}),
		attack("connects", "five hundred connects and resets at once", func(t *T) {
			for range 500 {
				t.dialTCP().reset()
			}
		}),
		attack("silent", "two hundred connections that say nothing", func(t *T) {
			for range 200 {
				t.dialTCP()
			}
		}),
		attack("slow-heads", "two hundred unfinished handshakes", func(t *T) {
			for range 200 {
				t.dial().write([]byte("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "))
			}
		}),
	})
}

// floodCases: one client that sends without measure.
func floodCases() []Case {
	return alone([]Case{
		newCase("10-hostile-pings", Should, "ten thousand pings at once are answered in order, or cut off with 1008; a fresh client is served meanwhile", pingFlood),
		newCase("10-hostile-unread-pings", Must, "ten thousand pings whose pongs nobody reads do not hinder a fresh client", func(t *T) {
			c := t.open()
			wire := frame{op: opPing, payload: t.noise(125)}.wire()
			c.stream(func(yield func([]byte) bool) {
				for n := 0; n < 10000 && yield(wire); n++ {
				}
			})
			t.fresh()
		}),
		newCase("10-hostile-unread-echo", Must, "64 MiB of messages whose echo nobody reads do not hinder a fresh client", func(t *T) {
			c := t.open()
			wire := bin(t.noise(64 << 10)).wire()
			c.stream(func(yield func([]byte) bool) {
				for n := 0; n < 1024 && yield(wire); n++ {
				}
			})
			t.pause(100 * time.Millisecond) // until the buffers on the way are full
			for range 5 {
				t.fresh()
			}
			c.drop()
		}),
		newCase("10-hostile-fragments", Should, "empty fragments without end are cut off, or do not hinder a fresh client", func(t *T) {
			t.fragmentFlood(bin(nil).part(), rest("").part())
		}),
		newCase("10-hostile-tiny-fragments", Should, "fragments of one byte without end are cut off, or do not hinder a fresh client", func(t *T) {
			t.fragmentFlood(text("a").part(), rest("b").part())
		}),
		attack("garbage", "a megabyte of noise behind the handshake, ten times", func(t *T) {
			for range 10 {
				c := t.open()
				noise := t.noise(1 << 20)
				c.stream(func(yield func([]byte) bool) { yield(noise) })
			}
		}),
		attack("close-flood", "a thousand close frames in one segment", func(t *T) {
			c := t.open()
			var frames []frame
			for range 1000 {
				frames = append(frames, closing(1000, ""))
			}
			c.send(frames...)
			c.wantClose(1000)
		}),
	})
}

// wantSomeEnd ends the stream and waits for the server to do the same, with or
// without a close frame.
func (c *conn) wantSomeEnd(end func()) {
	end()
	c.waiting = "the end"
	if _, err := c.r.Peek(1); err == nil {
		c.saidClose = true
		c.wantClose(0, 1000, 1001, 1002, 1011)
		return
	}
	c.wantEnd()
}

// pingFlood sends ten thousand pings and reads the pongs. A server may take its
// time over them, so that they are not all awaited.
func pingFlood(t *T) {
	const pings = 10000
	patience := time.Now().Add(t.quietMax)
	c := t.open()
	var wire []byte
	for i := range pings {
		wire = append(wire, ping(strconv.Itoa(i)).wire()...)
	}
	c.stream(func(yield func([]byte) bool) { yield(wire) })
	t.fresh()
	for last := -1; last < pings-1 && time.Now().Before(patience); {
		f := c.next("the pongs")
		if f.op == opClose {
			c.judgeClose(f, []int{1008})
			t.fresh()
			return
		}
		n, err := strconv.Atoi(string(f.payload))
		if f.op != opPong || err != nil || n <= last || n >= pings {
			t.Failf("%v came behind pong %d", f, last)
		}
		last = n
	}
	t.fresh()
}

// fragmentFlood sends fragments until the server cuts the connection, 16 MiB of
// them at most. Either way others are to be served meanwhile and after.
func (t *T) fragmentFlood(begin, more frame) {
	c := t.open()
	c.write(begin.wire())
	var piece []byte
	for len(piece) < 64<<10 {
		piece = append(piece, more.wire()...)
	}
	done := make(chan struct{})
	c.stream(func(yield func([]byte) bool) {
		defer close(done)
		for n := 0; n < 256 && yield(piece); n++ {
		}
	})
	for flooding := true; flooding; {
		t.fresh()
		select {
		case <-done:
			flooding = false
		default:
		}
	}
	t.fresh()
}
