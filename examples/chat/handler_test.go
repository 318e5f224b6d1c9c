package main

import (
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

func dial() (*client, *fake) {
	timer := time.NewTimer(time.Hour)
	return &client{timer: timer}, &fake{}
}

func TestUnexpectedRequestsCloseTheConnection(t *testing.T) {
	hello := request{T: "hello", Version: version, Room: "lobby", Nick: "Ada"}
	for name, said := range map[string][]request{
		"say before hello":    {{T: "say", ID: "1", Text: "x"}},
		"typing before hello": {{T: "typing"}},
		"unknown kind":        {hello, {T: "dance"}},
		"second hello":        {hello, hello},
		"other version":       {{T: "hello", Version: version + 1, Room: "lobby", Nick: "Ada"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub()
			cl, f := dial()
			for i, q := range said {
				if f.code != 0 {
					t.Fatalf("closed with %d before request %d", f.code, i)
				}
				cl.dispatch(h, f, &q, start)
			}
			if f.code != protocol.ClosePolicyViolation {
				t.Errorf("closed with %d, want 1008", f.code)
			}
		})
	}
}

func TestRefusedHelloMayBeRepeated(t *testing.T) {
	h := newHub()
	enter(t, h, request{Nick: "Ada"})
	cl, f := dial()
	for _, nick := range []string{"Ada", "\u200b", "Bob"} {
		cl.dispatch(h, f, &request{T: "hello", Version: version, Room: "lobby", Nick: nick}, start)
	}
	if f.seen[0].Code != "nick" || f.seen[1].Code != "nick" || f.last().T != "welcome" || f.code != 0 {
		t.Errorf("saw %+v, closed with %d", f.seen, f.code)
	}
}

func TestRefusedHellosAreCounted(t *testing.T) {
	h := newHub()
	cl, f := dial()
	for i := range refusedHellosMax {
		if f.code != 0 {
			t.Fatalf("closed with %d before hello %d", f.code, i)
		}
		cl.dispatch(h, f, &request{T: "hello", Version: version, Room: "lobby"}, start)
	}
	if len(f.seen) != refusedHellosMax || f.code != protocol.ClosePolicyViolation {
		t.Errorf("saw %+v, closed with %d, want 1008", f.seen, f.code)
	}
}

func TestBadMessageIsRefusedByItsID(t *testing.T) {
	h := newHub()
	cl, f := dial()
	cl.dispatch(h, f, &request{T: "hello", Version: version, Room: "lobby", Nick: "Ada"}, start)
	cl.dispatch(h, f, &request{T: "say", ID: "m1", Text: strings.Repeat("x", textRunesMax+1)}, start)
	if e := f.last(); e.T != "refused" || e.ID != "m1" || e.Code != "text" || f.code != 0 {
		t.Errorf("told %+v, closed with %d", e, f.code)
	}
	if errText.ID != "" {
		t.Error("the id went into the shared value")
	}
}

func TestFloodClosesTheConnection(t *testing.T) {
	h := newHub()
	cl, f := dial()
	cl.dispatch(h, f, &request{T: "hello", Version: version, Room: "lobby", Nick: "Ada"}, start)
	for range requestBurst - 1 {
		cl.dispatch(h, f, &request{T: "typing"}, start)
	}
	if f.code != 0 {
		t.Fatalf("closed with %d within the burst", f.code)
	}
	cl.dispatch(h, f, &request{T: "typing"}, start)
	if f.code != protocol.ClosePolicyViolation {
		t.Errorf("closed with %d, want 1008", f.code)
	}
}
