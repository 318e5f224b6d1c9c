package loop

import (
	"slices"
	"sync"
	"sync/atomic"
)

// table finds the sockets of a group by their descriptors. All loops share it,
// since the kernel gives a descriptor to one socket at a time: a table for each
// loop would cost as much again for each loop. It never shrinks: 8 bytes for
// each descriptor that was ever in use at the same time.
type table struct {
	growing sync.Mutex
	pages   atomic.Pointer[[]*page]
}

// page is a part of the table. Pages never move, so that growing disturbs nobody.
type page [1024]atomic.Pointer[Socket]

// slot is the place of a descriptor, or nil if the table does not reach so far.
func (t *table) slot(fd int) *atomic.Pointer[Socket] {
	pages := t.all()
	if i := fd / len(page{}); i < len(pages) {
		return &pages[i][fd%len(page{})]
	}
	return nil
}

func (t *table) all() []*page {
	if pages := t.pages.Load(); pages != nil {
		return *pages
	}
	return nil
}

// put makes s the socket of a descriptor. The socket's loop is set before that,
// so that every loop can tell whether it is its own.
func (t *table) put(fd int, s *Socket) {
	slot := t.slot(fd)
	if slot == nil {
		t.grow(fd)
		slot = t.slot(fd)
	}
	slot.Store(s)
}

func (t *table) grow(fd int) {
	t.growing.Lock()
	defer t.growing.Unlock()
	pages := slices.Clone(t.all())
	for fd/len(page{}) >= len(pages) {
		pages = append(pages, new(page))
	}
	t.pages.Store(&pages)
}

// of returns the sockets of one loop.
func (t *table) of(l *Loop) (sockets []*Socket) {
	for _, p := range t.all() {
		for i := range p {
			if s := p[i].Load(); s != nil && s.loop == l {
				sockets = append(sockets, s)
			}
		}
	}
	return sockets
}
