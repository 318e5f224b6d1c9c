package engine

import (
	"sync/atomic"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// TestHeldUpLoopDoesNotStopAccepting: while a callback blocks one of two loops,
// newcomers are served by the other, half of them at least.
func TestHeldUpLoopDoesNotStopAccepting(t *testing.T) {
	release, held := make(chan struct{}), make(chan struct{})
	s := serve(t, Config{Loops: 2, CallbackWarnAfter: NoLimit}, Handler{OnMessage: func(c *Conn, m Message) {
		if m.Text() == "hold" {
			close(held)
			<-release
		}
		_ = c.Send(m)
	}})
	holder := s.dial("/", nil)
	holder.send(protocol.OpText, "hold")
	<-held
	served := make(chan struct{}, 100)
	for range 4 * acceptorsPerListener { // two at most may wait for the loop that is held up
		c := s.connect()
		_, _ = c.Write([]byte(upgradeHead() + "\x88\x80\x00\x00\x00\x00"))
		go func() {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				served <- struct{}{}
			}
		}()
	}
	for range 4*acceptorsPerListener - 2*acceptorsPerListener {
		<-served
	}
	close(release)
	holder.expect("hold")
}

// badCodec panics where it is told to.
type badCodec struct {
	codec.Raw
	where string
}

func (b *badCodec) at(where string) {
	if b.where == where {
		panic("in " + where)
	}
}

func (b *badCodec) Start(env *codec.Env) codec.Event { b.at("Start"); return b.Raw.Start(env) }
func (b *badCodec) Decode(env *codec.Env, in []byte) (codec.Event, int) {
	if len(in) > 0 {
		b.at("Decode")
	}
	return b.Raw.Decode(env, in)
}
func (b *badCodec) Encode(env *codec.Env, dst []byte, op protocol.Opcode, p []byte, plain bool) ([]byte, error) {
	b.at("Encode")
	return b.Raw.Encode(env, dst, op, p, plain)
}
func (b *badCodec) Close(env *codec.Env, code protocol.CloseCode, reason string) bool {
	b.at("Close")
	return b.Raw.Close(env, code, reason)
}
func (b *badCodec) Release(*codec.Env) { b.at("Release") }

// TestCodecPanics: a codec of the program's that panics costs its connection,
// wherever it does.
func TestCodecPanics(t *testing.T) {
	for _, where := range []string{"Codec", "Start", "Decode", "Encode", "Close", "Release"} {
		for _, from := range []string{"loop", "elsewhere"} {
			t.Run(where+" "+from, func(t *testing.T) {
				var n atomic.Int32
				s := serve(t, Config{Addr: "tcp://127.0.0.1:0", Loops: 1, Codec: func() codec.Codec {
					if n.Add(1) != 2 { // the first is only looked at by New
						return new(codec.Raw)
					}
					if where == "Codec" {
						panic("in Codec")
					}
					return &badCodec{where: where}
				}}, Handler{OnMessage: func(c *Conn, m Message) {
					m = m.Clone()
					act := func() {
						_ = c.Send(m)
						if where != "Encode" && n.Load() == 2 {
							_ = c.Close(protocol.CloseNormal, "")
						}
					}
					if from == "loop" {
						act()
					} else {
						go act()
					}
				}})
				bad := s.connect()
				_, _ = bad.Write([]byte("x"))
				for {
					if _, err := bad.Read(make([]byte, 10)); err != nil {
						break // closed, however
					}
				}
				_ = bad.Close()
				s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
				good := s.connect()
				_, _ = good.Write([]byte("y"))
				if b := make([]byte, 1); true {
					if _, err := good.Read(b); err != nil || b[0] != 'y' {
						t.Errorf("the next connection: %q %v", b, err)
					}
				}
				if l := s.logs.FilterMessageSnippet("panicked"); l.Len() == 0 && where != "Codec" {
					t.Error("the panic was not logged")
				}
			})
		}
	}
}
