package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	limitDefault = 50
	limitMax     = 1000
	surveyKept   = time.Second     // that a list is given to others who ask for the same
	surveyTime   = 2 * time.Second // that loops have to answer
	surveysMax   = 32              // lists that are kept, and that are made or wait to be
	textMax      = 256             // bytes of a parameter
)

// query is what is asked for in a list of connections.
type query struct {
	sort, order                string
	q, listener, phase, paused string
	loop                       int // -1: any
	offset, limit              int
}

// sorts has an order for each of Sorts.
var sorts = map[string]func(a, b *Connection) int{
	"id":          func(a, b *Connection) int { return cmp.Compare(a.ID, b.ID) },
	"age":         func(a, b *Connection) int { return cmp.Or(cmp.Compare(a.AgeMs, b.AgeMs), cmp.Compare(b.ID, a.ID)) },
	"bytesIn":     func(a, b *Connection) int { return cmp.Compare(a.BytesIn, b.BytesIn) },
	"bytesOut":    func(a, b *Connection) int { return cmp.Compare(a.BytesOut, b.BytesOut) },
	"messagesIn":  func(a, b *Connection) int { return cmp.Compare(a.MessagesIn, b.MessagesIn) },
	"messagesOut": func(a, b *Connection) int { return cmp.Compare(a.MessagesOut, b.MessagesOut) },
	"queued":      func(a, b *Connection) int { return cmp.Compare(a.Queued, b.Queued) },
	"dropped":     func(a, b *Connection) int { return cmp.Compare(a.Dropped, b.Dropped) },
	"topics":      func(a, b *Connection) int { return cmp.Compare(a.Topics, b.Topics) },
	"remote":      func(a, b *Connection) int { return cmp.Compare(a.Remote, b.Remote) },
	"client":      func(a, b *Connection) int { return cmp.Compare(a.Client, b.Client) },
	"user":        func(a, b *Connection) int { return cmp.Compare(a.User, b.User) },
	"loop":        func(a, b *Connection) int { return cmp.Compare(a.Loop, b.Loop) },
	"listener":    func(a, b *Connection) int { return cmp.Compare(a.Listener, b.Listener) },
	"phase":       func(a, b *Connection) int { return cmp.Compare(a.Phase, b.Phase) },
	"handler":     func(a, b *Connection) int { return cmp.Compare(a.Handler, b.Handler) },
}

// needsTexts are the sorts by what source.complete fills in.
var needsTexts = []string{"remote", "client", "user", "handler"}

// readQuery reads the parameters. It answers if they are wrong.
func readQuery(w http.ResponseWriter, v url.Values) (q query, ok bool) {
	q = query{sort: cmp.Or(v.Get("sort"), "id"), order: cmp.Or(v.Get("order"), "desc"), q: strings.ToLower(strings.TrimSpace(v.Get("q"))),
		listener: v.Get("listener"), phase: v.Get("phase"), paused: v.Get("paused")}
	for name := range v {
		if len(v.Get(name)) > textMax { // lists are kept by what was asked for
			fail(w, http.StatusBadRequest, "%.40q has more than %d bytes", name, textMax)
			return q, false
		}
	}
	if sorts[q.sort] == nil {
		fail(w, http.StatusBadRequest, "sort is %.40q: it must be one of %s", q.sort, strings.Join(Sorts, ", "))
		return q, false
	}
	if q.order != "asc" && q.order != "desc" {
		fail(w, http.StatusBadRequest, "order is %.40q: it must be asc or desc", q.order)
		return q, false
	}
	return q, number(w, v, "loop", &q.loop, -1, -1, 255) && number(w, v, "offset", &q.offset, 0, 0, OffsetMax) &&
		number(w, v, "limit", &q.limit, limitDefault, 1, limitMax) && within(w, q.offset+q.limit)
}

func within(w http.ResponseWriter, end int) bool {
	if end > OffsetMax {
		fail(w, http.StatusBadRequest, "offset and limit together are %d: they may be %d; search for something", end, OffsetMax)
	}
	return end <= OffsetMax
}

// number reads a parameter. It answers if that is wrong.
func number(w http.ResponseWriter, v url.Values, name string, to *int, def, least, most int) bool {
	*to = def
	if !v.Has(name) || v.Get(name) == "" {
		return true
	}
	n, err := strconv.Atoi(v.Get(name))
	if err != nil || n < least || n > most {
		fail(w, http.StatusBadRequest, "%s is %.40q: it must be a number from %d to %d", name, v.Get(name), least, most)
		return false
	}
	*to = n
	return true
}

// texts reports whether the texts of all connections are needed.
func (q *query) texts() bool { return q.q != "" || slices.Contains(needsTexts, q.sort) }

func (q *query) matches(c *Connection) bool {
	switch {
	case q.loop >= 0 && c.Loop != q.loop,
		q.listener != "" && c.Listener != q.listener,
		q.phase != "" && c.Phase != q.phase,
		q.paused == "any" && len(c.Paused) == 0,
		q.paused != "" && q.paused != "any" && !slices.Contains(c.Paused, q.paused):
		return false
	case q.q == "":
		return true
	case q.q[0] == '#':
		return q.q[1:] == strconv.FormatUint(c.ID, 10)
	}
	for _, text := range [...]string{c.Remote, c.Client, c.User, c.Subprotocol, c.Handler} {
		if contains(text, q.q) {
			return true
		}
	}
	return false
}

// contains is strings.Contains without regard to the case of text; piece is in lower case.
func contains(text, piece string) bool {
	return strings.Contains(text, piece) || strings.Contains(strings.ToLower(text), piece)
}

// best keeps the first connections of an order, and throws away the others from time to time: it costs little for each that is thrown away, in whatever order they come.
type best struct {
	order func(a, b *Connection) int
	max   int

	rows  []*Connection   // the first max of those that came before worst was set, and some more
	worst *Connection     // what comes behind it is not among the first; nil: not known yet
	has   map[uint64]bool // the IDs of rows: source.survey may visit one twice
	free  []*Connection
}

// bestMore is how many connections are kept beyond those that are wanted, before they are sorted.
const bestMore = 1024

func (b *best) take(c *Connection) {
	if b.worst != nil && b.order(c, b.worst) >= 0 || b.has[c.ID] {
		return
	}
	var row *Connection
	if n := len(b.free); n > 0 {
		row, b.free = b.free[n-1], b.free[:n-1]
	} else {
		row = new(Connection)
	}
	*row = *c
	b.rows, b.has[c.ID] = append(b.rows, row), true
	if len(b.rows) >= 2*b.max+bestMore {
		b.prune()
	}
}

// prune sorts, and keeps the first.
func (b *best) prune() {
	slices.SortFunc(b.rows, b.order)
	if len(b.rows) <= b.max {
		return
	}
	for _, row := range b.rows[b.max:] {
		delete(b.has, row.ID)
		b.free = append(b.free, row)
	}
	b.rows = b.rows[:b.max]
	b.worst = b.rows[b.max-1]
}

// surveys makes the lists, one at a time, and keeps them for those who ask for the same.
type surveys struct {
	src source

	turn chan struct{} // holds something while a list is made; nil before the first
	mu   sync.Mutex    // guards what follows
	kept map[query]*made
	due  int // lists that are made or wait to be
}

// made is a list that is made, or was.
type made struct {
	done chan struct{} // closed when the rest is there
	at   time.Time
	list Connections
	err  error
}

var errManyLists = errors.New("too many different lists are asked for at once: ask again in a few seconds")

// get returns a list that is surveyKept old at most, if nothing was changed since.
func (s *surveys) get(ctx context.Context, q query) (Connections, error) {
	s.mu.Lock()
	m := s.kept[q]
	if m == nil || m.old() {
		if s.due >= surveysMax {
			s.mu.Unlock()
			return Connections{}, errManyLists
		}
		s.due++
		m = &made{done: make(chan struct{})}
		if s.kept == nil {
			s.kept, s.turn = make(map[query]*made), make(chan struct{}, 1)
		}
		if len(s.kept) >= surveysMax {
			clear(s.kept)
		}
		s.kept[q] = m
		go s.make(m, q)
	}
	s.mu.Unlock()
	select {
	case <-m.done:
	case <-ctx.Done():
		return Connections{}, ctx.Err()
	}
	list := m.list
	list.AgeMs = time.Since(m.at).Milliseconds()
	return list, m.err
}

func (m *made) old() bool {
	select {
	case <-m.done:
		return m.err != nil || time.Since(m.at) >= surveyKept
	default:
		return false
	}
}

// forget has the next list made anew.
func (s *surveys) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.kept)
}

func (s *surveys) make(m *made, q query) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	ctx, cancel := context.WithTimeout(context.Background(), surveyTime)
	defer cancel()
	order, sign := sorts[q.sort], 1
	if q.order == "desc" {
		sign = -1
	}
	b := best{max: q.offset + q.limit, has: make(map[uint64]bool), order: func(x, y *Connection) int { return cmp.Or(sign*order(x, y), cmp.Compare(y.ID, x.ID)) }}
	m.at, m.list = time.Now(), Connections{Offset: q.offset, Limit: q.limit, Silent: []int{}, Connections: []Connection{}}
	silent, err := s.src.survey(ctx, q.texts(), func(rows []Connection) {
		for i := range rows {
			m.list.Total++
			if q.matches(&rows[i]) {
				m.list.Matched++
				b.take(&rows[i])
			}
		}
	})
	m.list.Silent = append(m.list.Silent, silent...)
	m.err = err
	b.prune()
	for _, c := range b.rows[min(q.offset, len(b.rows)):] {
		s.src.complete(c)
		c.conn, c.handler = nil, nil // it may end while the list is kept
		m.list.Connections = append(m.list.Connections, *c)
	}
	close(m.done)
	s.mu.Lock()
	s.due--
	s.mu.Unlock()
}
