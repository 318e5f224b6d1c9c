package check

import (
	"strings"
	"testing"
)

// script is what happens, told to a Book in order: one word for each step, by the names of the functions below.
type script struct {
	*Book
	t *testing.T
}

func at(offset uint64) Position { return Position{offset, "e"} }

func (s script) publish(n, offset uint64) { // sent and acknowledged
	s.Sending("c", Message{"p", n})
	p := at(offset)
	s.Acked("c", Message{"p", n}, &p)
}

func (s script) get(client string, n, offset uint64) {
	s.Got(client, "c", Publication{offset, Message{"p", n}})
}

func (s script) join(client string, offset uint64) {
	s.Subscribed(client, "c", Subscribed{At: at(offset)})
}

func (s script) comeBack(client string, since, to Position, recovered bool, missed ...Publication) {
	s.Subscribed(client, "c", Subscribed{Since: &since, Recovered: recovered, At: to, Publications: missed})
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s script)
		want string // part of what is wrong; empty: nothing is
	}{
		{"all is there", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.publish(2, 2)
			s.get("a", 1, 1)
			s.get("a", 2, 2)
		}, ""},
		{"recovered", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.publish(2, 2)
			s.comeBack("a", at(0), at(2), true, Publication{1, Message{"p", 1}}, Publication{2, Message{"p", 2}})
		}, ""},
		{"told that something is missing", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.comeBack("a", at(0), Position{1, "f"}, false)
		}, ""},
		{"not acknowledged, and not there", func(s script) {
			s.join("a", 0)
			s.Sending("c", Message{"p", 1})
			s.publish(2, 2)
			s.get("a", 2, 2)
		}, ""},
		{"not acknowledged, and there", func(s script) {
			s.join("a", 0)
			s.Sending("c", Message{"p", 1})
			s.get("a", 1, 1)
		}, ""},
		{"not acknowledged, late", func(s script) {
			s.join("a", 0)
			s.Sending("c", Message{"p", 1})
			s.publish(2, 2)
			s.get("a", 2, 2)
			s.get("a", 1, 3)
		}, ""},
		{"before the subscription", func(s script) {
			s.publish(1, 1)
			s.join("a", 1)
		}, ""},
		{"sent before the subscription, acknowledged behind it", func(s script) {
			s.Sending("c", Message{"p", 1})
			s.join("a", 1)
			s.Acked("c", Message{"p", 1}, nil)
		}, ""},

		{"lost", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
		}, "a has not got p/1"},
		{"lost, position not told", func(s script) {
			s.join("a", 0)
			s.Sending("c", Message{"p", 1})
			s.Acked("c", Message{"p", 1}, nil)
		}, "a has not got p/1"},
		{"lost for one, not acknowledged", func(s script) {
			s.join("a", 0)
			s.join("b", 0)
			s.Sending("c", Message{"p", 1})
			s.get("b", 1, 1)
		}, "a has not got p/1"},
		{"a recovery that lies", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.comeBack("a", at(0), at(1), true)
		}, "a has not got p/1"},
		{"a recovery that lies in the midst", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.publish(2, 2)
			s.comeBack("a", at(0), at(2), true, Publication{2, Message{"p", 2}})
			s.comeBack("a", at(2), at(2), false)
		}, "a has not got p/1"},
		{"recovered in another epoch", func(s script) {
			s.join("a", 0)
			s.comeBack("a", at(0), Position{0, "f"}, true)
		}, "in another epoch"},
		{"recovered without asking", func(s script) {
			s.Subscribed("a", "c", Subscribed{Recovered: true, At: at(0)})
		}, "has not asked"},
		{"the newest is older", func(s script) {
			s.join("a", 5)
			s.comeBack("a", at(5), at(3), true)
		}, "is told that the newest is"},
		{"twice", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.get("a", 1, 1)
			s.get("a", 1, 1)
		}, "got p/1 twice"},
		{"stored twice", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.get("a", 1, 1)
			s.get("a", 1, 2)
		}, "p/1 is there twice"},
		{"stored twice, for two clients", func(s script) {
			s.join("a", 0)
			s.Sending("c", Message{"p", 1})
			s.get("a", 1, 1)
			s.join("b", 1)
			s.get("b", 1, 2)
		}, "p/1 is there twice"},
		{"two at one place", func(s script) {
			s.join("a", 0)
			s.Sending("c", Message{"p", 1})
			s.publish(2, 1)
			s.get("a", 1, 1)
		}, "have one position"},
		{"in another order", func(s script) {
			s.join("a", 0)
			s.Sending("c", Message{"p", 1})
			s.Acked("c", Message{"p", 1}, nil)
			s.Sending("c", Message{"p", 2})
			s.Acked("c", Message{"p", 2}, nil)
			s.get("a", 2, 1)
			s.get("a", 1, 2)
		}, "got p/2 before p/1"},
		{"offsets that fall", func(s script) {
			s.join("a", 0)
			s.publish(1, 2)
			s.publish(2, 1)
			s.get("a", 1, 2)
			s.get("a", 2, 1)
		}, "got p/2 at 1, and was at 2"},
		{"of nobody", func(s script) {
			s.join("a", 0)
			s.get("a", 9, 1)
		}, "nobody has published"},
		{"without a subscription", func(s script) {
			s.publish(1, 1)
			s.get("a", 1, 1)
		}, "is not subscribed"},
		{"again after it was settled", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.get("a", 1, 1)
			s.Settle()
			s.get("a", 1, 2)
		}, "got p/1 again"},
		{"lost after a settlement", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.get("a", 1, 1)
			s.Settle()
			s.publish(2, 2)
		}, "a has not got p/2"},
		{"late after a settlement", func(s script) {
			s.join("a", 0)
			s.Sending("c", Message{"p", 1})
			s.publish(2, 1)
			s.get("a", 2, 1)
			s.Settle()
			s.get("a", 1, 2)
		}, ""},
		{"settled, then recovered", func(s script) {
			s.join("a", 0)
			s.publish(1, 1)
			s.get("a", 1, 1)
			s.Settle()
			s.publish(2, 2)
			s.comeBack("a", at(1), at(2), true, Publication{2, Message{"p", 2}})
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := script{New(), t}
			c.do(s)
			wrong := strings.Join(s.Check(), "\n")
			if c.want == "" && wrong != "" || !strings.Contains(wrong, c.want) {
				t.Errorf("found %q, want %q", wrong, c.want)
			}
		})
	}
}

func TestHas(t *testing.T) {
	s := script{New(), t}
	s.join("a", 0)
	s.publish(1, 1)
	m := Message{"p", 1}
	if s.Has("a", "c", m) {
		t.Error("it has what it has not got")
	}
	s.get("a", 1, 1)
	s.join("b", 1)
	for _, client := range []string{"a", "b"} {
		if !s.Has(client, "c", m) {
			t.Errorf("%s has not", client)
		}
	}
	if s.Has("nobody", "c", m) {
		t.Error("nobody has it")
	}
}

func TestPresent(t *testing.T) {
	set := func(ids string) map[string]bool {
		m := map[string]bool{}
		for _, id := range strings.Fields(ids) {
			m[id] = true
		}
		return m
	}
	for _, c := range [][3]string{
		{"a b", "a b", ""},
		{"a b", "a", "b is there and is not named"},
		{"a", "a b", "b is named and is not there"},
		{"a b c d e", "", "and 2 more"},
	} {
		if got := Present(set(c[0]), set(c[1])); got != c[2] && (c[2] == "" || !strings.Contains(got, c[2])) {
			t.Errorf("%v: %q", c, got)
		}
	}
}
