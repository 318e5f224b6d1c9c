package engine_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// sensorsMax bounds the sensors that a loop remembers: anybody can send from many
// addresses.
const sensorsMax = 10_000

// sensors are the sensors of one loop. A sensor always comes to the same loop, so
// they need no lock.
type sensors map[netip.AddrPort]*sensor

type sensor struct {
	readings int
	silent   bool // since the loop last looked
}

// A server for sensors that send their readings in UDP packets. It numbers the
// readings of each sensor, and answers with the number, so that a sensor finds out
// what was lost. It forgets those that are silent.
func ExamplePacket() {
	var loops []sensors
	e, err := engine.New(engine.Config{Addr: "udp://127.0.0.1:0", PacketBytesMax: 64}, engine.Handler{
		OnPacket: func(p engine.Packet, data []byte) {
			known := loops[p.Loop().Index()]
			s := known[p.RemoteAddr()]
			if s == nil {
				if len(data) == 0 || len(known) == sensorsMax {
					return // no answer: the sender may be forged
				}
				s = new(sensor)
				known[p.RemoteAddr()] = s
			}
			s.readings++
			s.silent = false
			_ = p.Reply(fmt.Appendf(nil, "%d: %s", s.readings, data)) // what is lost, the sensor sends again
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, l := range e.Loops() {
		known := sensors{}
		loops = append(loops, known)
		l.Every(time.Minute, func(engine.Tick) {
			for addr, s := range known {
				if s.silent {
					delete(known, addr)
				}
				s.silent = true
			}
		})
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()

	c, err := net.Dial("udp", e.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	b := make([]byte, 100)
	for _, reading := range []string{"21.5", "21.7"} {
		_, _ = c.Write([]byte(reading))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _ := c.Read(b)
		fmt.Printf("%s\n", b[:n])
	}
	stop()
	fmt.Println(<-done)
	// Output:
	// 1: 21.5
	// 2: 21.7
	// <nil>
}
