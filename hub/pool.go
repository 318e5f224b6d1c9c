package hub

// pool carries out what nobody waits for, on a bounded number of goroutines, the first first. Hub.mu guards it.
type pool struct {
	h       *Hub
	max     int // goroutines
	workers int
	queue   []func()
	next    int // of queue
}

// How much the hub does by itself at once. A pool for each, since what waits for an order or an end may be a read.
const (
	ordersAtOnce = 256 // clients for which what was ordered is carried out
	endsAtOnce   = 64  // clients that have disconnected, and are taken out of their channels
	readsAtOnce  = 64  // channels that read a gap from the history
)

// do has f called. It never blocks. After Close, f is not called.
func (p *pool) do(f func()) {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	p.doLocked(f)
}

func (p *pool) doLocked(f func()) {
	if p.h.closed {
		return
	}
	p.queue = append(p.queue, f)
	if p.workers < p.max {
		p.workers++
		p.h.work.Add(1)
		go p.work()
	}
}

func (p *pool) work() {
	defer p.h.work.Done()
	p.drain()
}

// drain carries out what waits. It is called by each worker.
func (p *pool) drain() {
	for {
		p.h.mu.Lock()
		if p.next == len(p.queue) {
			p.queue, p.next = nil, 0
			p.workers--
			p.h.mu.Unlock()
			return
		}
		f := p.queue[p.next]
		p.queue[p.next] = nil
		if p.next++; p.next > 1024 && p.next > len(p.queue)/2 {
			p.queue, p.next = append([]func(){}, p.queue[p.next:]...), 0
		}
		p.h.mu.Unlock()
		f()
	}
}
