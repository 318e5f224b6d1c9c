package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestHelloIsChecked(t *testing.T) {
	for _, c := range []struct {
		room, nick string
		want       error
	}{
		{"lobby", "Ada", nil},
		{"Zürich_2-b", "Grace Hopper", nil},
		{strings.Repeat("r", roomRunesMax), strings.Repeat("ü", nickRunesMax), nil},
		{"", "Ada", errRoom},
		{"a room", "Ada", errRoom},
		{"a/b", "Ada", errRoom},
		{strings.Repeat("r", roomRunesMax+1), "Ada", errRoom},
		{"lobby", "", errNick},
		{"lobby", " \t\n", errNick},
		{"lobby", "Ad\x00a", errNick},
		{"lobby", "Ad\u202ea", errNick}, // direction override
		{"lobby", "A\u200bda", errNick}, // zero-width space
		{"lobby", "Ada\xff", errNick},
		{"lobby", "Ada\u115f", errNick}, // fillers, blanks and a joiner of graphemes
		{"lobby", "Ada\u1160", errNick},
		{"lobby", "\u3164", errNick},
		{"lobby", "\uffa0Ada", errNick},
		{"lobby", "A\u2800da", errNick},
		{"lobby", "A\u034fda", errNick},
		{"lobby", "-.\u0301", errNick},
		{"lobby", "Z\u0301\u0302\u0303a", errNick}, // a pile of marks
		{"lobby", "Z\u0301\u0302a 1\ufe0f\u20e3", nil},
		{"lobby", "☀\ufe0f", nil},
		{"lobby", strings.Repeat("n", nickRunesMax+1), errNick},
	} {
		q := request{Room: c.room, Nick: c.nick}
		if err := q.checkHello(); !errors.Is(err, c.want) {
			t.Errorf("room %q, nick %q: %v, want %v", c.room, c.nick, err, c.want)
		}
	}
	q := request{Room: "LobbY", Nick: "  Grace\u00a0 Hopper "}
	if err := q.checkHello(); err != nil || q.Room != "lobby" || q.Nick != "Grace Hopper" {
		t.Errorf("normalised to %q, %q (%v)", q.Room, q.Nick, err)
	}
}

func TestMessageIsChecked(t *testing.T) {
	for _, c := range []struct {
		id, text string
		want     error
	}{
		{"a-1_Z", "hello\n\tworld <b>&", nil},
		{strings.Repeat("i", 36), strings.Repeat("é", textRunesMax), nil},
		{"", "x", errID},
		{strings.Repeat("i", 37), "x", errID},
		{"a b", "x", errID},
		{"1", "", errText},
		{"1", " \n ", errText},
		{"1", "bell\a", errText},
		{"1", "a\rb", errText},
		{"1", "\xc3", errText},
		{"1", strings.Repeat("x", textRunesMax+1), errText},
	} {
		q := request{ID: c.id, Text: c.text}
		if err := q.checkSay(); !errors.Is(err, c.want) {
			t.Errorf("id %q, text %.20q: %v, want %v", c.id, c.text, err, c.want)
		}
	}
	q := request{ID: "1", Text: " a\r\nb\n"}
	if err := q.checkSay(); err != nil || q.Text != "a\nb" {
		t.Errorf("normalised to %q (%v)", q.Text, err)
	}
}

func TestFoldJoinsWhatDiffersInCase(t *testing.T) {
	for _, pair := range [][2]string{{"Ada", "aDA"}, {"Σίσυφος", "ΣΊΣΥΦΟΣ"}, {"Kelvin", "\u212aelvin"}, {"Éa", "éA"}, {"☀\ufe0f", "☀"}} {
		if fold(pair[0]) != fold(pair[1]) {
			t.Errorf("%q and %q have different keys", pair[0], pair[1])
		}
	}
	if fold("Ada") == fold("Adb") {
		t.Error("different names have the same key")
	}
}

func TestMessageIsEncodedAsItWasSaid(t *testing.T) {
	const text = "<b>&\u2028\"\n"
	data := encode(message{T: "msg", Offset: 1, Text: text})
	var back message
	if err := json.Unmarshal(data, &back); err != nil || back.Text != text || !strings.Contains(string(data), "<b>&") {
		t.Errorf("%s (%v)", data, err)
	}
}
