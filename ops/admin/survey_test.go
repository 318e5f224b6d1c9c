package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sockmill/sockmill/hub"
)

// crowd is a source of connections that do not exist.
type crowd struct {
	n       int
	surveys atomic.Int64
	gate    chan struct{} // if not nil, a survey takes one from it first
	twice   bool          // each connection is visited twice
	silent  []int
	made    []Connection
	once    sync.Once
}

func (c *crowd) rows() []Connection {
	c.once.Do(func() {
		for i := range c.n {
			x := uint64(i) * 0x9e3779b97f4a7c15
			c.made = append(c.made, Connection{ID: uint64(i + 1), Loop: i % 4, Listener: "ws://127.0.0.1:8090", Remote: fmt.Sprintf("192.0.2.%d:%d", i%250, i%60000), User: fmt.Sprintf("user-%d", i),
				Phase: "open", Handler: "main.onMessage", AgeMs: int64(x >> 40), BytesIn: x >> 32, MessagesIn: x >> 61, Queued: int(x >> 50), Paused: []string{}})
		}
	})
	return c.made
}

func (c *crowd) survey(_ context.Context, _ bool, visit func([]Connection)) ([]int, error) {
	c.surveys.Add(1)
	if c.gate != nil {
		<-c.gate
	}
	for some := range slices.Chunk(c.rows(), 256) {
		visit(some)
		if c.twice {
			visit(some)
		}
	}
	return c.silent, nil
}

func (c *crowd) status(*Status)       {}
func (c *crowd) complete(*Connection) {}

func (c *crowd) connection(context.Context, uint64) (*ConnectionDetail, error) {
	return &ConnectionDetail{}, nil
}
func (c *crowd) pause(uint64) error                            { return nil }
func (c *crowd) resume(uint64) error                           { return nil }
func (c *crowd) end(uint64, CloseRequest) error                { return nil }
func (c *crowd) tap(context.Context, uint64, int) (tap, error) { return nil, errGone }
func (c *crowd) settings() Settings                            { return Settings{} }

func (c *crowd) channels(context.Context, string, hub.Page) (*Names, error) { return &Names{}, nil }
func (c *crowd) users(context.Context, hub.Page) (*Names, error)            { return &Names{}, nil }

func (c *crowd) list(t testing.TB, h *handler, query string) (l Connections) {
	t.Helper()
	w := httptest.NewRecorder()
	h.connections(w, httptest.NewRequest("GET", "/api/connections?"+query, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil || w.Code != 200 {
		t.Fatal(w.Code, err, w.Body)
	}
	return l
}

// TestCrowd compares pages of 2,000 connections with a list that is sorted as a whole.
func TestCrowd(t *testing.T) {
	c := &crowd{n: 2_000, twice: true, silent: []int{3}}
	for _, sort := range []string{"id", "age", "messagesIn", "user"} { // many have the same messagesIn
		for _, order := range []string{"asc", "desc"} {
			want := slices.Clone(c.rows())
			slices.SortStableFunc(want, func(a, b Connection) int {
				n := sorts[sort](&a, &b)
				if order == "desc" {
					n = -n
				}
				return cmp.Or(n, cmp.Compare(b.ID, a.ID))
			})
			for _, page := range [][2]int{{0, 50}, {7, 3}, {500, 100}} {
				h := &handler{surveys: surveys{src: c}}
				l := c.list(t, h, url.Values{"sort": {sort}, "order": {order}, "offset": {fmt.Sprint(page[0] / 2)}, "limit": {fmt.Sprint(page[1])}}.Encode())
				if len(l.Connections) == 0 || len(l.Silent) != 1 {
					t.Fatalf("%+v", l)
				}
				for i := range l.Connections {
					if l.Connections[i].ID != want[page[0]/2+i].ID {
						t.Fatalf("%s %s, page %v: %d stands at %d, want %d", sort, order, page, l.Connections[i].ID, i, want[page[0]/2+i].ID)
					}
				}
			}
		}
	}
	if len(sorts) != len(Sorts) || slices.ContainsFunc(Sorts, func(s string) bool { return sorts[s] == nil }) {
		t.Error("Sorts are not those that there are")
	}
	h := &handler{surveys: surveys{src: &crowd{n: 20_000}}}
	if l := c.list(t, h, "q=USER-1999"); l.Matched != 11 || l.Total != 20_000 || l.Connections[0].User != "user-19999" {
		t.Errorf("found %d of %d, %+v", l.Matched, l.Total, l.Connections[0])
	}
	if l := c.list(t, h, "q=%2320000&loop=3"); l.Matched != 1 || l.Connections[0].ID != 20_000 {
		t.Errorf("found %+v", l)
	}
}

// TestSurveyIsShared: those who ask for the same at the same time, or within a second, get one survey; not after a change.
func TestSurveyIsShared(t *testing.T) {
	c := &crowd{n: 10, gate: make(chan struct{}, 10)}
	h := &handler{src: c, surveys: surveys{src: c}}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { c.list(t, h, "limit=3") })
	}
	c.gate <- struct{}{}
	all.Wait()
	if n := c.surveys.Load(); n != 1 {
		t.Errorf("%d surveys for one question", n)
	}
	c.gate <- struct{}{}
	if c.list(t, h, "limit=4"); c.surveys.Load() != 2 {
		t.Error("another question got the same answer")
	}
	r := httptest.NewRequest("POST", "/api/connections/1/pause", strings.NewReader(""))
	r.SetPathValue("id", "1")
	h.pause(httptest.NewRecorder(), r)
	c.gate <- struct{}{}
	if c.list(t, h, "limit=3"); c.surveys.Load() != 3 {
		t.Error("a change does not show")
	}
	for q := range h.surveys.kept { // a second passes
		h.surveys.kept[q].at = h.surveys.kept[q].at.Add(-surveyKept)
	}
	c.gate <- struct{}{}
	if c.list(t, h, "limit=3"); c.surveys.Load() != 4 {
		t.Error("a list is kept for too long")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.surveys.get(ctx, query{sort: "id", limit: 9}); err == nil {
		t.Error("who has gone waits for the list")
	}
	c.gate <- struct{}{}
}

// TestManyLists: those who ask for many different lists at once wait in no long row, and a long parameter is kept by nobody.
func TestManyLists(t *testing.T) {
	c := &crowd{n: 10, gate: make(chan struct{}, surveysMax)}
	h := &handler{src: c, surveys: surveys{src: c}}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	ask := func(query string) int {
		w := httptest.NewRecorder()
		h.connections(w, httptest.NewRequest("GET", "/api/connections?"+query, nil).WithContext(gone))
		return w.Code
	}
	for i := range surveysMax {
		if _, err := h.surveys.get(gone, query{sort: "id", limit: i + 1}); !errors.Is(err, context.Canceled) {
			t.Fatalf("list %d: %v", i, err)
		}
	}
	if _, err := h.surveys.get(gone, query{sort: "id", limit: 100}); !errors.Is(err, errManyLists) {
		t.Errorf("one more: %v", err)
	}
	for _, query := range []string{"q=", "listener=", "sort=", "other="} {
		if code := ask(query + strings.Repeat("x", textMax+1)); code != 400 {
			t.Errorf("a long %s: %d", query, code)
		}
	}
	h.surveys.mu.Lock()
	all := slices.Collect(maps.Values(h.surveys.kept))
	h.surveys.mu.Unlock()
	for range surveysMax {
		c.gate <- struct{}{}
	}
	for _, one := range all {
		<-one.done
	}
	c.gate <- struct{}{}
	for { // the one that ended last has made room, or does now
		if _, err := h.surveys.get(t.Context(), query{sort: "id", limit: 200}); err == nil {
			break
		} else if !errors.Is(err, errManyLists) {
			t.Fatal(err)
		}
	}
	if c.surveys.Load() != surveysMax+1 {
		t.Errorf("%d surveys", c.surveys.Load())
	}
}

// BenchmarkCrowd makes lists of 100,000 connections.
func BenchmarkCrowd(b *testing.B) {
	c := &crowd{n: 100_000}
	for _, query := range []string{"limit=50", "sort=bytesIn&limit=50", "sort=user&offset=9000&limit=1000", "q=user-99&sort=queued", "q=nobody"} {
		b.Run(query, func(b *testing.B) {
			c.rows()
			for b.Loop() {
				c.list(b, &handler{surveys: surveys{src: c}}, query)
			}
		})
	}
}
