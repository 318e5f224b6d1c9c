package engine

import (
	"errors"
	"unsafe"
)

const (
	// fanOutMin is from how many connections on a fan-out leaves writing to them
	// for later turns.
	fanOutMin = 32

	// fanOutsMax bounds the fan-outs that wait on a loop, and fanOutBytesMax their
	// messages. At either, a publisher on the loop carries out the first ones
	// itself, and what others publish waits in the inbox.
	fanOutsMax     = 1 << 14
	fanOutBytesMax = 64 << 20
)

// fanOut is a message on its way to the connections of a loop that were members
// of a topic, or all, when it was published.
type fanOut struct {
	b *broadcast
	t *topic // nil: all
}

// fanOuts are the fan-outs of a loop that are not done, in the order of publishing.
// They are numbered. listed.told is the number of the last one that is done for a
// connection: it got the message, or was no member. Before anything else is sent to a
// connection, or its place in a list changes, it gets all that are due to it
// (Conn.catchUp). So order is kept, and nobody is passed over or told twice.
type fanOuts struct {
	fifo[fanOut]
	next  int    // index of the next connection, in the list of the first fan-out
	last  uint64 // the number of the last
	bytes int    // of all messages
}

func (f *fanOuts) full() bool { return f.len() >= fanOutsMax || f.bytes >= fanOutBytesMax }

// held is the memory of all fan-outs that wait.
func (f *fanOuts) held() int64 {
	return int64(f.bytes) + int64(f.len())*int64(unsafe.Sizeof(fanOut{}))
}

// done removes the first fan-out.
func (f *fanOuts) done() {
	b := f.pop().b
	f.next, f.bytes = 0, f.bytes-len(b.plain)
	b.release()
}

// drop removes all fan-outs, when the loop has ended.
func (f *fanOuts) drop() {
	for f.len() > 0 {
		f.done()
	}
}

// deliver sends b to the loop's members of a topic, or to all of its connections,
// as far as this turn comes with it.
func (w *worker) deliver(b *broadcast, name string) {
	var t *topic
	if name != "" {
		if t = w.topics[name]; t == nil {
			return
		}
	}
	f := &w.fans
	if f.full() {
		w.fanOut(func() bool { return !f.full() })
	}
	b.refs.Add(1)
	f.push(fanOut{b, t})
	f.last++
	if f.bytes += len(b.plain); f.len() == 1 {
		w.fanOut(w.enough)
	}
}

// fanOut goes on with the fan-outs that wait, until enough reports true.
func (w *worker) fanOut(enough func() bool) {
	for f := &w.fans; f.len() > 0; f.done() {
		x, number, to := *f.at(0), f.last-uint64(f.len())+1, w.conns
		if x.t != nil {
			to = x.t.members
		}
		many := len(to) >= fanOutMin
		for f.next < len(to) {
			c := to[f.next]
			f.next++
			if c.lists.told < number {
				if c.lists.told = number; x.reaches(c) {
					c.take(x.b, many)
				}
			}
			if enough() {
				return
			}
		}
	}
}

// reaches reports whether c, which is in the list of x, gets its message.
func (x *fanOut) reaches(c *Conn) bool { return c != x.b.but && (x.t != nil || c.origin != dialled) }

// take sends c a published message. If that is dropped, it is counted. A user's
// codec may panic.
func (c *Conn) take(b *broadcast, many bool) {
	defer c.recoverPanic()
	if err := c.sendShared(b, many); !errors.Is(err, ErrClosed) {
		c.overtaken(err)
	}
}

// catchUp sends c what was published before and is due to it.
func (c *Conn) catchUp() {
	for b := c.due(); b != nil; b = c.due() {
		c.take(b, false)
	}
}

// missOut counts the messages that are due to c as sent and discarded. It is called
// when c ends before it got them.
func (c *Conn) missOut() {
	for c.due() != nil {
		c.noteSent(1)
		c.noteDiscarded(1)
	}
}

// due takes the next message that was published and is due to c, or returns nil.
func (c *Conn) due() *broadcast {
	f := &c.w.fans
	for f.len() > 0 && c.lists.told < f.last {
		first := f.last - uint64(f.len()) + 1
		c.lists.told = max(c.lists.told+1, first)
		x := f.at(int(c.lists.told - first))
		if x.reaches(c) && (x.t == nil || c.memberOf(x.t) >= 0) {
			return x.b
		}
	}
	return nil
}
