package memory

import (
	"container/list"
	"slices"
	"time"
	"unsafe"

	"github.com/sockmill/sockmill/hub/broker"
)

// histories are the streams of all channels. A channel that has none yet has the offset 0 and
// the epoch of its share, so that to ask for it costs no memory. When a history is removed to make room,
// its share gets another epoch: its channel, and whatever is new in that share, is another stream.
type histories struct {
	cfg    *Config
	share  func(channel string) int
	epochs [shares]string

	byChannel    map[string]*history
	full, bare   order // histories with publications, and those that have only their position
	publications int
	bytes        int
}

// history is the stream of one channel. If its publications have expired, it still has its position, so
// that whoever missed nothing is told so.
type history struct {
	channel  string
	epoch    string
	top      uint64        // the offset of the newest publication
	lifetime time.Duration // of each publication; 0: it does not end
	slots    []slot        // a ring: n of them are used, from first on
	first, n int
	element  *list.Element // its place in full or bare
}

type slot struct {
	p     broker.Publication
	since time.Duration // when it was appended
}

const (
	slotBytes    = int(unsafe.Sizeof(slot{}))
	historyBytes = 320 // a history without publications: itself, its element, its place in the map
	slotsMin     = 4
)

func (h *history) at(i int) *slot { return &h.slots[(h.first+i)%len(h.slots)] }

func (h *history) position() broker.Position { return broker.Position{Offset: h.top, Epoch: h.epoch} }

func (s *histories) init(cfg *Config, share func(string) int) {
	s.cfg, s.share, s.byChannel = cfg, share, map[string]*history{}
	epoch := newEpoch()
	for i := range s.epochs {
		s.epochs[i] = epoch
	}
}

// add appends p to the history of a channel and gives it its position.
func (s *histories) add(channel string, p *broker.Publication, keep broker.Keep, now time.Duration) error {
	size := size(p)
	if historyBytes+len(channel)+slotsMin*slotBytes+size > s.cfg.BytesMax {
		return broker.ErrTooLarge
	}
	h := s.byChannel[channel]
	if h == nil {
		h = &history{channel: channel, epoch: s.epochs[s.share(channel)]}
		h.element = s.bare.PushFront(h)
		s.byChannel[channel] = h
		s.bytes += historyBytes + len(channel)
	}
	h.lifetime = keep.Lifetime
	s.use(h, now)
	bare := h.n == 0
	for h.n >= keep.Publications {
		s.discard(h)
	}
	p.Position, p.Prev = broker.Position{Offset: h.top + 1, Epoch: h.epoch}, h.top
	if h.n == len(h.slots) {
		s.resize(h, min(max(slotsMin, 2*h.n), keep.Publications))
	}
	if bare {
		s.bare.drop(h.element)
		h.element = s.full.PushFront(h)
	}
	h.top++
	h.n++
	*h.at(h.n - 1) = slot{*p, now}
	s.publications++
	s.bytes += size
	s.trim(h)
	s.shrink(h)
	return nil
}

// shrink makes room until the bounds hold. The history h, which was used last, keeps its newest publication.
func (s *histories) shrink(h *history) {
	for {
		least := s.bare.Back()
		switch {
		case s.publications > s.cfg.PublicationsMax:
			least = s.full.Back()
		case len(s.byChannel) <= s.cfg.ChannelsMax && s.bytes <= s.cfg.BytesMax:
			return
		case least == nil:
			least = s.full.Back()
		}
		if oldest := least.Value.(*history); oldest != h {
			s.remove(oldest)
		} else if h.n > 1 {
			s.pop(h)
		} else {
			return
		}
	}
}

// use notes that h is used, and removes what has expired of it, and some of what has expired of others.
func (s *histories) use(h *history, now time.Duration) {
	for s.expire(h, now) {
	}
	if h.n > 0 {
		s.full.use(h.element)
	} else {
		s.bare.use(h.element)
	}
	s.full.sweep(func(value any) bool { return s.expire(value.(*history), now) })
}

// expire removes the oldest publication of h if it has expired.
func (s *histories) expire(h *history, now time.Duration) bool {
	if h.n == 0 || h.lifetime == 0 || now-h.at(0).since < h.lifetime {
		return false
	}
	s.pop(h)
	return true
}

// pop removes the oldest publication of h.
func (s *histories) pop(h *history) {
	s.discard(h)
	s.trim(h)
	if h.n == 0 {
		s.full.drop(h.element)
		h.element = s.bare.PushFront(h)
	}
}

// discard removes the oldest publication, but leaves slots and place as they are.
func (s *histories) discard(h *history) {
	oldest := h.at(0)
	s.publications--
	s.bytes -= size(&oldest.p)
	*oldest = slot{}
	h.first = (h.first + 1) % len(h.slots)
	h.n--
}

// trim gives slots back if most are not used.
func (s *histories) trim(h *history) {
	switch {
	case h.n == 0:
		s.resize(h, 0)
	case h.n < len(h.slots)/slotsMin:
		s.resize(h, 2*h.n)
	}
}

// resize gives h that many slots, at least as many as are used.
func (s *histories) resize(h *history, n int) {
	var slots []slot
	if n > 0 {
		slots = make([]slot, n)
		for i := range h.n {
			slots[i] = *h.at(i)
		}
	}
	s.bytes += (n - len(h.slots)) * slotBytes
	h.slots, h.first = slots, 0
}

// remove forgets a history, with its epoch.
func (s *histories) remove(h *history) {
	s.empty(h.channel)
	s.bare.drop(h.element)
	delete(s.byChannel, h.channel)
	s.bytes -= historyBytes + len(h.channel)
	s.epochs[s.share(h.channel)] = newEpoch()
}

// empty removes all publications of a channel.
func (s *histories) empty(channel string) {
	if h := s.byChannel[channel]; h != nil {
		for h.n > 0 {
			s.pop(h)
		}
	}
}

func (s *histories) read(channel string, q broker.Query, now time.Duration) (broker.Page, error) {
	h := s.byChannel[channel]
	if h == nil {
		h = &history{epoch: s.epochs[s.share(channel)]} // not kept
	} else {
		s.use(h, now)
	}
	page := broker.Page{Top: h.position()}
	from, to := 0, h.n // of the ring
	if q.Since != nil {
		missed := h.top - q.Since.Offset
		if q.Since.Epoch != h.epoch || q.Since.Offset > h.top {
			return page, broker.ErrUnrecoverable
		}
		switch kept := uint64(h.n); {
		case q.Reverse:
			to = int(kept - min(kept, missed+1))
		case missed > kept:
			return page, broker.ErrUnrecoverable
		default:
			from = int(kept - missed)
		}
	}
	if q.Limit >= 0 && to-from > q.Limit {
		if q.Reverse {
			from = to - q.Limit
		} else {
			to = from + q.Limit
		}
	}
	if from < to {
		page.Publications = make([]broker.Publication, 0, to-from)
		for i := from; i < to; i++ {
			page.Publications = append(page.Publications, h.at(i).p)
		}
	}
	if q.Reverse {
		slices.Reverse(page.Publications)
	}
	return page, nil
}

// size is what a publication needs besides its slot.
func size(p *broker.Publication) int {
	n := len(p.Data)
	if p.Info != nil {
		n += infoSize(p.Info)
	}
	if p.Tags != nil {
		n += tagsBytes
		for name, value := range p.Tags {
			n += tagBytes + len(name) + len(value)
		}
	}
	for _, client := range p.Except {
		n += exceptBytes + len(client)
	}
	return n
}

const (
	infoBytes = int(unsafe.Sizeof(broker.Info{}))
	tagsBytes = 320 // a map with up to eight tags
	tagBytes  = 64  // each tag

	exceptBytes = 16 // each name
)

func infoSize(i *broker.Info) int {
	return infoBytes + len(i.Client) + len(i.User) + len(i.Conn) + len(i.Channel)
}
