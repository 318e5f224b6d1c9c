package outq

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// references counts those to the frames that a test shares.
type references int

func (r *references) Hold() int    { *r++; return 0 }
func (r *references) Release() int { *r--; return 0 }

// rig is a queue of a loop without a kernel.
type rig struct {
	t       testing.TB
	env     codec.Env
	pool    Pool
	session *codec.Session
	q       Queue
	shares  references
	n       uint64
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, session: codec.NewSession(&codec.Options{})}
	r.pool.Buffers = &r.env.Buffers
	return r
}

// frame is a message that can be told from all others.
func (r *rig) frame(size int) []byte {
	r.n++
	b, err := r.session.Encode(&r.env, nil, protocol.OpBinary, append(binary.AppendUvarint(nil, r.n), make([]byte, size)...), true)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func appends(b []byte) func([]byte) ([]byte, error) {
	return func(dst []byte) ([]byte, error) { return append(dst, b...), nil }
}

func (r *rig) audit() {
	r.t.Helper()
	if err := r.q.Audit(); err != nil {
		r.t.Fatal(err)
	}
	if of, all := r.q.SharedBytes(), r.pool.SharedBytes(); of != all {
		r.t.Fatalf("the only queue holds %d bytes of shared frames, all queues %d", of, all)
	}
}

// balanced asserts that an empty queue holds nothing.
func (r *rig) balanced() {
	r.t.Helper()
	if r.audit(); !r.q.Empty() || r.q.Bytes() != 0 || r.q.Messages() != 0 || r.env.Buffers.Lent() != 0 || r.pool.LentBytes() != 0 || r.shares != 0 {
		r.t.Fatalf("of an empty queue %d bytes and %d messages wait, %d buffers, %d bytes and %d references are held",
			r.q.Bytes(), r.q.Messages(), r.env.Buffers.Lent(), r.pool.LentBytes(), r.shares)
	}
}

// item is a message of the naive model: a slice, searched from its front.
type item struct {
	frame     []byte
	message   bool
	removable bool
	key       string
	written   int
}

type model struct {
	items []item
	want  []byte // what has left
}

func (m *model) bytes() (n int) {
	for _, it := range m.items {
		if n += len(it.frame) - it.written; it.removable && it.written == 0 {
			n += RemovableBytes
		}
	}
	return n
}

func (m *model) messages() (n int) {
	for _, it := range m.items {
		if it.message {
			n++
		}
	}
	return n
}

func (m *model) find(ok func(*item) bool) int {
	for i := range m.items {
		if it := &m.items[i]; it.removable && it.written == 0 && ok(it) {
			return i
		}
	}
	return -1
}

func (m *model) wrote(n int) (messages int) {
	for n > 0 {
		it := &m.items[0]
		take := min(n, len(it.frame)-it.written)
		m.want = append(m.want, it.frame[it.written:it.written+take]...)
		it.written += take
		if n -= take; it.written == len(it.frame) {
			if it.message {
				messages++
			}
			m.items = m.items[1:]
		}
	}
	return messages
}

// decide is what a policy does, in the model.
func (m *model) decide(policy Policy, key string, limit int) (do Verdict, removed int) {
	full := func() bool { return m.bytes() >= limit }
	switch {
	case policy == Close && full():
		return CloseSlow, 0
	case policy == Close:
		return Send, 0
	case policy == Replace && key != "" && m.find(func(it *item) bool { return it.key == key }) >= 0:
		return TakePlace, 0
	case policy != DropNewest:
		for full() {
			at := m.find(func(*item) bool { return true })
			if at < 0 {
				break
			}
			m.items = append(m.items[:at:at], m.items[at+1:]...)
			removed++
		}
	}
	if full() {
		return Drop, removed
	}
	return SendRemovable, removed
}

// TestModel runs queues against a naive model: what leaves is what was put, less
// what was removed; policies remove the same; bytes and messages are counted the
// same at every step, and at the end nothing is held.
func TestModel(t *testing.T) {
	for seed := range uint64(400) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, seed) })
	}
}

func runModel(t *testing.T, seed uint64) {
	r, rnd := newRig(t), rand.New(rand.NewPCG(seed, 7))
	var m model
	var out []byte
	left, wrote := 0, 0 // messages that left, as the queue counts and as the model does
	limit := 1 + rnd.IntN(60_000)
	step := func() {
		f := r.frame(rnd.IntN(1 + rnd.IntN(9000)))
		switch rnd.IntN(6) {
		case 0: // one that no policy removes, or a control frame
			message := rnd.IntN(3) > 0
			n := 1
			if !message {
				f, n = []byte{0x89, 1, 'p'}, 0
			}
			_ = r.q.Append(&r.pool, len(f), n, appends(f))
			m.items = append(m.items, item{frame: f, message: message})
		case 1:
			r.q.Share(&r.pool, &Shared{Frame: f, Owner: &r.shares})
			m.items = append(m.items, item{frame: f, message: true})
		case 2, 3: // what a congested connection sends
			policy, key := Policy(1+rnd.IntN(4)), ""
			if policy == Replace && rnd.IntN(4) > 0 {
				key = fmt.Sprint("key ", rnd.IntN(10))
			}
			do, removed := r.q.Decide(&r.pool, policy, key, limit)
			if d, n := m.decide(policy, key, limit); d != do || n != removed {
				t.Fatalf("policy %d: verdict %d and %d removed, the model says %d and %d", policy, do, removed, d, n)
			}
			switch do {
			case Send:
				_ = r.q.Append(&r.pool, len(f), 1, appends(f))
				m.items = append(m.items, item{frame: f, message: true})
			case SendRemovable:
				_ = r.q.AppendRemovable(&r.pool, len(f), key, appends(f))
				m.items = append(m.items, item{frame: f, message: true, removable: true, key: key})
			case TakePlace:
				_ = r.q.ReplaceKey(&r.pool, len(f), key, appends(f))
				m.items[m.find(func(it *item) bool { return it.key == key })].frame = f
			}
		case 4: // the kernel takes some
			n := 0
			for _, p := range r.q.Pieces(nil, 1+rnd.IntN(64)) {
				n += len(p)
				out = append(out, p...)
			}
			if n == 0 {
				break
			}
			k := 1 + rnd.IntN(n)
			out = out[:len(out)-n+k]
			left += r.q.Wrote(&r.pool, k)
			wrote += m.wrote(k)
		case 5:
			limit = 1 + rnd.IntN(60_000)
		}
		if r.audit(); r.q.Bytes() != m.bytes() || r.q.Messages()+left != m.messages()+wrote {
			t.Fatalf("%d bytes, %d messages, %d left; the model has %d, %d, %d", r.q.Bytes(), r.q.Messages(), left, m.bytes(), m.messages(), wrote)
		}
	}
	for range 400 {
		step()
	}
	if string(out) != string(m.want) {
		t.Fatal("other bytes left than the model says")
	}
	end := rnd.IntN(3)
	if end == 0 { // the peer is gone
		if n := r.q.Written(r.session); left+n != wrote {
			t.Fatalf("%d messages are written, the model says %d", left+n, wrote)
		}
		r.q.Free(&r.pool)
		r.balanced()
		return
	}
	if end == 1 { // a policy close: only the rest of the first stays
		keep := 0
		if len(m.items) > 0 && m.items[0].written > 0 {
			keep = 1
		}
		whole := m.messages()
		m.items = m.items[:keep]
		whole -= m.messages()
		if got := r.q.Discard(&r.pool, r.session); got != whole {
			t.Fatalf("discarded %d messages, want %d", got, whole)
		}
		r.audit()
	}
	for !r.q.Empty() {
		n := 0
		for _, p := range r.q.Pieces(nil, 64) {
			n += len(p)
			out = append(out, p...)
		}
		left += r.q.Wrote(&r.pool, n)
		wrote += m.wrote(n)
	}
	if string(out) != string(m.want) || len(m.items) != 0 || left != wrote {
		t.Fatalf("at the end %d messages had left, the model says %d and %d wait", left, wrote, len(m.items))
	}
	r.balanced()
}

// TestRemainder cuts a cork at every byte: what the kernel did not take follows,
// each chunk behind the first begins with a frame, and every message is counted
// as written or waiting.
func TestRemainder(t *testing.T) {
	for _, head := range []string{"", "HTTP/1.1 101 Switching Protocols\r\n\r\n"} {
		for done := 0; ; done++ {
			r := newRig(t)
			out := []byte(head)
			for range 5 {
				out = append(out, r.frame(20)...)
				out = append(out, 0x8a, 0) // a pong
			}
			if done == len(out) {
				break
			}
			written := r.q.Remainder(&r.pool, r.session, out, len(head), done, 5)
			whole := 0
			if done > len(head) {
				whole = (done - len(head) + 2) / 25
			}
			if r.audit(); written != whole || written+r.q.Messages() != 5 {
				t.Errorf("cut at %d behind %d: %d written, %d wait, want %d written", done, len(head), written, r.q.Messages(), whole)
			}
			pieces := r.q.Pieces(nil, 64)
			var got []byte
			for _, p := range pieces {
				got = append(got, p...)
			}
			if string(got) != string(out[done:]) || len(pieces) > 2 {
				t.Errorf("cut at %d: other bytes wait, in %d pieces", done, len(pieces))
			}
			if len(pieces) == 2 && countMessages(r.session, pieces[1]) > 5-written {
				t.Errorf("cut at %d: the second piece begins within a frame", done)
			}
			r.q.Free(&r.pool)
			r.balanced()
		}
	}
}
