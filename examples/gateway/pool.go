package main

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine"
)

// The wait of a server that failed, before it is tried again: it doubles with
// each failure.
const retryMin, retryMax = 250 * time.Millisecond, 30 * time.Second

// upstream is a server. The lock of the pool guards all but url.
type upstream struct {
	url   string
	conns int           // joined to clients, or being dialled
	wait  time.Duration // 0: it is healthy
	retry time.Time     // when it is tried again
}

// pool chooses servers.
type pool struct {
	mu   sync.Mutex
	list []*upstream
}

func newPool(urls []string) *pool {
	p := new(pool)
	for _, url := range urls {
		p.list = append(p.list, &upstream{url: strings.TrimRight(url, "/")})
	}
	return p
}

// take chooses the server with the fewest connections, of those that are healthy
// or due to be tried again and not among tried. It is counted until failed or
// give; nil if there is none.
func (p *pool) take(now time.Time, tried []*upstream) (best *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.list {
		if (best == nil || u.conns < best.conns) && !now.Before(u.retry) && !slices.Contains(tried, u) {
			best = u
		}
	}
	if best != nil {
		best.conns++
	}
	return best
}

// give takes one connection off the count.
func (p *pool) give(u *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.conns--
}

// reached notes that the server answers, and reports whether it failed before.
func (p *pool) reached(u *upstream) (back bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	back, u.wait = u.wait > 0, 0
	return back
}

// failed has the server wait, and returns how long. Clients that found out at the
// same time count once.
func (p *pool) failed(u *upstream, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.conns--
	if !now.Before(u.retry) {
		u.wait = min(max(2*u.wait, retryMin), retryMax)
		u.retry = now.Add(u.wait)
	}
	return u.wait
}

// unreachable reports whether another server may do better: the attempt failed, or
// the server is full, is ending or is broken. Any other status is an answer to
// the client, such as 401.
func unreachable(err error) bool {
	var failed *engine.DialError
	var refused *codec.HandshakeError
	return errors.As(err, &failed) && !(errors.As(err, &refused) && refused.Status < 500)
}
