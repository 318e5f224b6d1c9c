package codec_test

import (
	"bytes"
	"compress/flate"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// purse is a Budget.
type purse struct{ left int }

func (p *purse) Take(n int) bool {
	if n <= 0 {
		panic("nothing taken")
	}
	if n > p.left {
		return false
	}
	p.left -= n
	return true
}

func (p *purse) Give(n int) { p.left += n }

// all compresses everything, and agrees to everything.
func all() *codec.Deflate {
	return &codec.Deflate{
		Level: 3, ThresholdBytes: 1, ServerTakeover: true, ClientTakeover: true,
		ServerMaxWindowBits: 15, ClientMaxWindowBits: 15, HistoryBits: 15,
	}
}

func with(o codec.Options, d *codec.Deflate) codec.Options {
	o.Deflate = d
	return o
}

// offering is a handshake with these Sec-WebSocket-Extensions fields.
func offering(fields ...string) string {
	lines := []string{line, host, upgrade, connection, version, nonce}
	for _, f := range fields {
		lines = append(lines, "Sec-WebSocket-Extensions: "+f)
	}
	return head(lines...)
}

// openDeflate returns a server that was offered compression, with an empty log.
func openDeflate(tb testing.TB, o codec.Options, offer string) *side {
	x := newSide(tb, o)
	x.feed(offering(offer))
	if x.s.State() != codec.StateOpen || agreed(x) == "" {
		tb.Fatalf("%s: %q", offer, x.env.Out)
	}
	x.log = nil
	return x
}

// agreed is what an answer says of extensions.
func agreed(x *side) string {
	_, rest, _ := strings.Cut(string(x.env.Out), "\r\nSec-WebSocket-Extensions: ")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

func TestRFC7692Section7_1_Answer(t *testing.T) {
	const pmd = "permessage-deflate"
	limited := func(server, client int) *codec.Deflate {
		d := all()
		d.ServerMaxWindowBits, d.ClientMaxWindowBits = server, client
		return d
	}
	refusing := func(server, client bool) *codec.Deflate {
		d := all()
		d.ServerTakeover, d.ClientTakeover = !server, !client
		return d
	}
	const none = pmd + "; server_no_context_takeover; client_no_context_takeover"
	for _, tt := range []struct {
		d            *codec.Deflate
		offer, reply string
	}{
		{nil, pmd, ""},
		{all(), pmd, pmd},
		{all(), "x-webkit-deflate-frame, " + pmd, pmd},
		{all(), "Permessage-Deflate", ""},
		{all(), "permessage-deflate2", ""},
		{all(), "foo; server_max_window_bits=10", ""},

		// server_no_context_takeover, client_no_context_takeover
		{all(), pmd + "; server_no_context_takeover", pmd + "; server_no_context_takeover"},
		{all(), pmd + "; client_no_context_takeover", pmd + "; client_no_context_takeover"},
		{all(), pmd + ";client_no_context_takeover;server_no_context_takeover", none},
		{all(), pmd + "; server_no_context_takeover=1", ""},
		{all(), pmd + "; client_no_context_takeover=\"x\"", ""},
		{all(), pmd + "; server_no_context_takeover; server_no_context_takeover", ""},
		{all(), pmd + "; client_no_context_takeover; client_no_context_takeover", ""},
		{refusing(true, false), pmd, pmd + "; server_no_context_takeover"},
		{refusing(false, true), pmd + "; client_max_window_bits", pmd + "; client_no_context_takeover"},
		{refusing(true, true), pmd + "; client_max_window_bits", none},
		{refusing(true, true), pmd + "; client_no_context_takeover", none},

		// server_max_window_bits
		{all(), pmd + "; server_max_window_bits=8", pmd + "; server_max_window_bits=8"},
		{all(), pmd + "; server_max_window_bits=9", pmd + "; server_max_window_bits=9"},
		{all(), pmd + "; server_max_window_bits=\"12\"", pmd + "; server_max_window_bits=12"},
		{all(), pmd + "; server_max_window_bits=\"1\\2\"", pmd + "; server_max_window_bits=12"},
		{all(), pmd + "; server_max_window_bits=15", pmd + "; server_max_window_bits=15"},
		{limited(10, 15), pmd, pmd + "; server_max_window_bits=10"},
		{limited(10, 15), pmd + "; server_max_window_bits=12", pmd + "; server_max_window_bits=10"},
		{limited(12, 15), pmd + "; server_max_window_bits=10", pmd + "; server_max_window_bits=10"},
		{all(), pmd + "; server_max_window_bits", ""},
		{all(), pmd + "; server_max_window_bits=7", ""},
		{all(), pmd + "; server_max_window_bits=16", ""},
		{all(), pmd + "; server_max_window_bits=08", ""},
		{all(), pmd + "; server_max_window_bits=1", ""},
		{all(), pmd + "; server_max_window_bits=0", ""},
		{all(), pmd + "; server_max_window_bits=-9", ""},
		{all(), pmd + "; server_max_window_bits=+9", ""},
		{all(), pmd + "; server_max_window_bits=100", ""},
		{all(), pmd + "; server_max_window_bits=1x", ""},
		{all(), pmd + "; server_max_window_bits=10; server_max_window_bits=10", ""},

		// client_max_window_bits, never without an offer of it
		{all(), pmd + "; client_max_window_bits", pmd},
		{all(), pmd + "; client_max_window_bits=15", pmd},
		{all(), pmd + "; client_max_window_bits=8", pmd + "; client_max_window_bits=8"},
		{all(), pmd + "; client_max_window_bits=\"10\"", pmd + "; client_max_window_bits=10"},
		{limited(15, 12), pmd + "; client_max_window_bits", pmd + "; client_max_window_bits=12"},
		{limited(15, 12), pmd + "; client_max_window_bits=14", pmd + "; client_max_window_bits=12"},
		{limited(15, 12), pmd + "; client_max_window_bits=9", pmd + "; client_max_window_bits=9"},

		// An offer without either parameter of the client's (Safari's) is asked for
		// nothing, or declined.
		{limited(15, 12), pmd, pmd},
		{limited(10, 8), pmd + "; server_no_context_takeover", pmd + "; server_no_context_takeover; server_max_window_bits=10"},
		{refusing(false, true), pmd, ""},
		{refusing(true, true), pmd, ""},
		{refusing(false, true), pmd + ", " + pmd + "; client_max_window_bits", pmd + "; client_no_context_takeover"},

		{limited(15, 12), pmd + "; client_no_context_takeover; client_max_window_bits", pmd + "; client_no_context_takeover"},
		{all(), pmd + "; client_max_window_bits=7", ""},
		{all(), pmd + "; client_max_window_bits=16", ""},
		{all(), pmd + "; client_max_window_bits=010", ""},
		{all(), pmd + "; client_max_window_bits=a", ""},
		{all(), pmd + "; client_max_window_bits; client_max_window_bits", ""},
		{all(), pmd + "; client_max_window_bits=9; client_max_window_bits", ""},

		// unknown parameters, and the next offer
		{all(), pmd + "; foo", ""},
		{all(), pmd + "; foo=bar", ""},
		{all(), pmd + "; SERVER_NO_CONTEXT_TAKEOVER", ""},
		{all(), pmd + "; foo, " + pmd, pmd},
		{all(), pmd + "; server_max_window_bits=7, foo, " + pmd + "; server_max_window_bits=9, " + pmd, pmd + "; server_max_window_bits=9"},
		{all(), pmd + "; server_no_context_takeover, " + pmd, pmd + "; server_no_context_takeover"},
		{limited(9, 10), pmd + "; client_max_window_bits; server_max_window_bits=15; server_no_context_takeover",
			pmd + "; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits=10"},
	} {
		x := newSide(t, with(limits(), tt.d))
		x.feed(offering(tt.offer))
		if got := agreed(x); got != tt.reply || x.s.State() != codec.StateOpen {
			t.Errorf("%s: answered %q, want %q", tt.offer, got, tt.reply)
		}
		x.finish()
	}
}

func TestRFC7692Section5_1_OffersInSeveralFields(t *testing.T) {
	x := newSide(t, with(limits(), all()))
	x.feed(offering("permessage-deflate; server_max_window_bits=99", "foo, permessage-deflate; server_max_window_bits=11"))
	if got := agreed(x); got != "permessage-deflate; server_max_window_bits=11" {
		t.Error(got)
	}
}

// answers is what a client makes of the server's Sec-WebSocket-Extensions.
func answers(t *testing.T, o codec.Options, fields ...string) (*side, string) {
	t.Helper()
	x := newSide(t, o)
	var r protocol.Request
	if err := r.Parse(string(x.env.Out), 20); err != nil {
		t.Fatal(err)
	}
	var more []protocol.Field
	for _, f := range fields {
		more = append(more, protocol.Field{Name: "Sec-WebSocket-Extensions", Value: f})
	}
	x.log = nil
	x.feed(string(protocol.AppendSwitchingProtocols(nil, r.Fields.Get("Sec-WebSocket-Key"), "", "", more)))
	return x, strings.Join(x.log, "; ")
}

func TestRFC7692Section7_1_Client(t *testing.T) {
	const pmd = "permessage-deflate"
	small := all()
	small.ServerMaxWindowBits, small.ClientMaxWindowBits = 10, 11
	alone := all()
	alone.ServerTakeover, alone.ClientTakeover = false, false
	for _, tt := range []struct {
		d            *codec.Deflate
		offer        string
		good, broken []string
	}{
		{nil, "", []string{""}, []string{pmd, "foo"}},
		{all(), pmd + "; client_max_window_bits",
			[]string{"", pmd, pmd + "; server_max_window_bits=9", pmd + "; client_max_window_bits=8", pmd + "; client_max_window_bits=15",
				pmd + "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8; client_max_window_bits=\"9\""},
			[]string{"foo", pmd + ", " + pmd, pmd + ", foo", pmd + "; foo", pmd + "; client_max_window_bits", pmd + "; server_max_window_bits",
				pmd + "; server_max_window_bits=16", pmd + "; client_max_window_bits=7", pmd + "; server_no_context_takeover=1",
				pmd + "; server_no_context_takeover; server_no_context_takeover", "permessage-deflate;", ";"}},
		{small, pmd + "; server_max_window_bits=10; client_max_window_bits=11, " + pmd + "; server_no_context_takeover; client_max_window_bits=11",
			[]string{"", pmd + "; server_max_window_bits=10", pmd + "; server_max_window_bits=8; client_max_window_bits=15",
				pmd + "; server_no_context_takeover", pmd + "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11"},
			[]string{pmd, pmd + "; server_max_window_bits=11", pmd + "; client_max_window_bits=9"}},
		{alone, pmd + "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
			[]string{"", pmd + "; server_no_context_takeover", pmd + "; client_no_context_takeover; server_no_context_takeover"},
			[]string{pmd, pmd + "; client_no_context_takeover"}},
	} {
		o := with(limits(), tt.d)
		o.Role = codec.Client
		for i, list := range [][]string{tt.good, tt.broken} {
			for _, value := range list {
				fields := []string{value}
				if value == "" {
					fields = nil
				}
				p := &purse{left: 1 << 17}
				if tt.d != nil {
					o.Deflate.Budget = p
				}
				x, log := answers(t, o, fields...)
				if got := agreed(x); got != tt.offer {
					t.Errorf("offered %q, want %q", got, tt.offer)
				}
				if want := []string{"open", "refused 502"}[i]; log != want {
					t.Errorf("%q answered by %q: %s, want %s", tt.offer, value, log, want)
				}
				x.finish()
				if p.left != 1<<17 {
					t.Errorf("%q answered by %q: %d bytes of the budget are gone", tt.offer, value, 1<<17-p.left)
				}
			}
		}
	}
	x, log := answers(t, with(clientLimits(), all()), pmd, pmd)
	if log != "refused 502" {
		t.Error("two fields:", log)
	}
	x.finish()
}

// When the budget is spent, sessions agree to no takeover; what one gives back
// another gets.
func TestDeflateBudget(t *testing.T) {
	const offer = "permessage-deflate; client_max_window_bits=12"
	const full, none = offer, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	d, p := all(), &purse{left: 2*(4096+1024) + 5000}
	d.HistoryBits, d.Budget = 10, p
	open := func() (*side, string) {
		x := openDeflate(t, with(limits(), d), offer)
		return x, agreed(x)
	}
	a, first := open()
	b, second := open()
	c, third := open()
	if first != full || second != full || third != none || p.left != 5000 {
		t.Errorf("%q, %q, %q, %d left", first, second, third, p.left)
	}
	for range 3 {
		for _, x := range []*side{a, b, c} {
			x.feed(frame(0xc1, packed(text(5000))))
			x.send(protocol.OpText, text(5000))
		}
	}
	if a.s.Idle() || !c.s.Idle() || a.s.Held() != 4096+1024 || c.env.Buffers.Lent() != 0 {
		t.Errorf("with takeover %d bytes are held, without %d", a.s.Held(), c.s.Held())
	}
	a.shut(protocol.CloseNormal, "")
	if p.left != 5000 {
		t.Error("given back before the end")
	}
	a.feed(frame(0x88, code(1000)))
	if p.left != 5000+4096+1024 || a.env.Buffers.Lent() != 0 {
		t.Errorf("%d left after a close, %d buffers", p.left, a.env.Buffers.Lent())
	}
	e, fourth := open()
	if fourth != full {
		t.Error(fourth)
	}
	for _, x := range []*side{a, b, c, e} {
		x.finish()
		x.s.Release(x.env) // gives nothing back twice
	}
	if p.left != 2*(4096+1024)+5000 {
		t.Errorf("%d left at the end", p.left)
	}

	// An offer that can be asked for nothing costs a window of 32 KiB.
	p.left = 1<<15 + 1024
	safari := openDeflate(t, with(limits(), d), "permessage-deflate")
	if got := agreed(safari); got != "permessage-deflate" || p.left != 0 {
		t.Errorf("%q, %d left", got, p.left)
	}
	for range 20 {
		safari.feed(frame(0xc1, packed(text(5000))))
		safari.send(protocol.OpText, text(5000))
	}
	if got := safari.s.Held(); got != 1<<15+1024 {
		t.Errorf("%d bytes are held", got)
	}
	var stream bytes.Buffer // of its compressor, which goes on: its third message is its first, a window back
	z, _ := flate.NewWriter(&stream, 9)
	random := make([]byte, 15_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	for _, m := range []string{string(random), text(15_000), string(random)} {
		stream.Reset()
		_, _ = z.Write([]byte(m))
		_ = z.Flush()
		safari.log = nil
		safari.feed(frame(0xc2, strings.TrimSuffix(stream.String(), "\x00\x00\xff\xff")))
		if want := show("binary", []byte(m)); len(safari.log) != 1 || safari.log[0] != want {
			t.Errorf("%.100q, want %.100q", safari.log, want)
		}
	}
	if stream.Len() > 1000 {
		t.Errorf("the third message took %d bytes: it does not refer to the first", stream.Len())
	}
	safari.finish()
	if p.left != 1<<15+1024 {
		t.Errorf("%d left", p.left)
	}
	p.left--
	declined := newSide(t, with(limits(), d))
	if declined.feed(offering("permessage-deflate")); agreed(declined) != "" || declined.s.State() != codec.StateOpen || p.left != 1<<15+1023 {
		t.Errorf("%q with %d left", agreed(declined), p.left)
	}
	declined.feed(frame(0xc1, "x"))
	if got := declined.log[len(declined.log)-1]; got != "> close 1002" {
		t.Error("a compressed frame without agreement:", got)
	}

	p.left = 0
	o := with(clientLimits(), d)
	x, log := answers(t, o, none)
	if got := agreed(x); log != "open" || !strings.HasPrefix(got, none) {
		t.Errorf("a client without a budget offers %q: %s", got, log)
	}
	x.finish()
	if _, log = answers(t, o, "permessage-deflate"); log != "refused 502" || p.left != 0 {
		t.Errorf("a takeover that a client cannot hold: %s", log)
	}
}
