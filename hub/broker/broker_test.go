package broker

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestFollows(t *testing.T) {
	at := Position{Offset: 5, Epoch: "e"}
	for _, c := range []struct {
		p    Publication
		want bool
	}{
		{Publication{Position: Position{6, "e"}, Prev: 5}, true},
		{Publication{Position: Position{900, "e"}, Prev: 5}, true},
		{Publication{Position: Position{7, "e"}, Prev: 6}, false},
		{Publication{Position: Position{6, "e"}, Prev: 4}, false},
		{Publication{Position: Position{6, "f"}, Prev: 5}, false},
		{Publication{Position: Position{5, "e"}, Prev: 5}, false}, // it is not known what was before
		{Publication{Position: Position{5, "e"}, Prev: 4}, false}, // itself
	} {
		if got := c.p.Follows(at); got != c.want {
			t.Errorf("%+v follows %+v: %v", c.p, at, got)
		}
	}
	if (Publication{}).Follows(Position{}) {
		t.Error("a publication without a position follows something")
	}
	if first := (Publication{Position: Position{1, "e"}}); !first.Follows(Position{0, "e"}) {
		t.Error("the first does not follow the beginning")
	}
}

func TestChecks(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []struct {
		err  error
		want string // part of it; empty: none
	}{
		{CheckChannel("a"), ""},
		{CheckChannel(long[:255]), ""},
		{CheckChannel(""), "has 0 bytes: it must be from 1 to 255"},
		{CheckChannel(long), "has 256 bytes"},
		{CheckSubject(long[:255]), ""},
		{CheckSubject(""), "a subject of 0 bytes: it must have from 1 to 255"},
		{CheckSubject(long), "a subject of 256 bytes"},
		{Keep{Publications: 1}.Check(), ""},
		{Keep{Publications: 1, Lifetime: 1, Key: long[:255]}.Check(), ""},
		{Keep{}.Check(), "Keep.Publications is 0: it must be at least 1"},
		{Keep{Publications: 1, Lifetime: -time.Second}.Check(), "Keep.Lifetime is -1s"},
		{Keep{Publications: 1, Key: long}.Check(), "Keep.Key has 256 bytes"},
		{CheckEnter(&Info{Client: "c"}, 1), ""},
		{CheckEnter(&Info{User: "u"}, 1), "Info.Client is empty"},
		{CheckEnter(&Info{Client: "c"}, 0), "a lifetime of 0s"},
	} {
		switch {
		case c.want == "" && c.err != nil:
			t.Error(c.err)
		case c.want != "" && (!errors.Is(c.err, ErrInvalid) || !strings.Contains(c.err.Error(), c.want)):
			t.Errorf("error %v, want %s", c.err, c.want)
		}
	}
}
