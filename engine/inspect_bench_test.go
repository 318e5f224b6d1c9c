package engine

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// BenchmarkInspect describes 100,000 connections of one loop, and reports for how
// long it held the loop at a time: half of the times, and 99 of 100, were no longer.
func BenchmarkInspect(b *testing.B) {
	s := serve(b, Config{Loops: 1, Describe: func(c *Conn) string { return "somebody" }}, Handler{})
	w := s.loops[0]
	var held []time.Duration
	_ = s.onWorker(w, func() {
		for i := range 100_000 {
			c := bareConn(s.main, addressed{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(i))}) //nolint:gosec // any port
			c.ws.Init(&s.main.options)
			c.codec, c.w = &c.ws, w
			c.end.phase.Store(phaseOpen)
			w.conns = append(w.conns, c)
		}
	})
	b.ResetTimer()
	for b.Loop() {
		n := 0
		_, err := s.Inspect(context.Background(), func(infos []ConnInfo) bool { n += len(infos); return true })
		if err != nil || n != 100_000 {
			b.Fatal(n, err)
		}
		_ = s.onWorker(w, func() {
			buf := make([]ConnInfo, 0, inspectMax)
			for next := len(w.conns); next > 0; {
				began := time.Now()
				buf, next = w.inspect(buf[:0], next)
				held = append(held, time.Since(began))
			}
		})
	}
	slices.Sort(held)
	b.ReportMetric(float64(held[len(held)/2].Microseconds()), "µs-held-50%")
	b.ReportMetric(float64(held[len(held)*99/100].Microseconds()), "µs-held-99%")
	b.StopTimer()
	_ = s.onWorker(w, func() { w.conns = nil })
}

// addressed is a net.Conn that is an address alone.
type addressed struct{ addr netip.AddrPort }

func (a addressed) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(a.addr) }
func (a addressed) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(a.addr) }

func (addressed) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (addressed) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (addressed) Close() error                     { return nil }
func (addressed) SetDeadline(time.Time) error      { return nil }
func (addressed) SetReadDeadline(time.Time) error  { return nil }
func (addressed) SetWriteDeadline(time.Time) error { return nil }
