package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The protocol is JSON, one object per text message, told apart by "t". A client says hello
// first and is answered by welcome or refused; then say, which is answered by ack or refused,
// and typing. Others learn of it by msg, join, leave and typing. Times are microseconds since
// 1970 by the server's clock. A message has an offset, counted from 1 within an epoch, and an
// epoch is one life of a room.
const version = 1

// Limits of what a client may say, in bytes or runes.
const (
	roomRunesMax = 32
	nickRunesMax = 24
	textRunesMax = 2000
	wireBytesMax = 16 << 10
)

// request is everything a client may say; each kind uses a part of it.
type request struct {
	T       string `json:"t"`
	Version int    `json:"v"`
	Room    string `json:"room"`
	Nick    string `json:"nick"`
	Token   string `json:"token"` // the secret of a session from an earlier welcome
	Epoch   string `json:"epoch"` // with After: what the client has seen of the room
	After   uint64 `json:"after"`
	ID      string `json:"id"` // chosen by the client; the same id is stored once per session
	Text    string `json:"text"`
}

type member struct {
	U    string `json:"u"` // public name of the session; the nick may pass to somebody else
	Nick string `json:"nick"`
}

type welcome struct {
	T     string `json:"t"`
	You   member `json:"you"`
	Token string `json:"token"`
	history
	Members []member `json:"members"`
	Now     int64    `json:"now"`
	Head    [2]int   `json:"head"` // bytes of the opening handshake: request and response
}

// history is a run of messages that ends with the newest one. Lost says that messages between
// it and what the client had seen are gone.
type history struct {
	Epoch    string            `json:"epoch"`
	Next     uint64            `json:"next"` // ask for messages after this offset next time
	Lost     bool              `json:"lost,omitempty"`
	Messages []json.RawMessage `json:"messages"`
}

type message struct {
	T      string `json:"t"`
	Offset uint64 `json:"o"`
	At     int64  `json:"at"`
	member
	ID   string `json:"id"`
	Text string `json:"text"`
}

type ack struct {
	T      string `json:"t"`
	ID     string `json:"id"`
	Offset uint64 `json:"o"`
	At     int64  `json:"at"` // when it was acknowledged
}

// presence is a join, a leave or a typing hint.
type presence struct {
	T string `json:"t"`
	member
	Back bool `json:"back,omitempty"`
}

// refusal is an error that the client is told: in a message of kind refused, or as the HTTP
// status and body.
type refusal struct {
	T      string `json:"t"`
	ID     string `json:"id,omitempty"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
	status int
}

func (r *refusal) Error() string { return r.Reason }

func refuse(status int, code, reason string) *refusal {
	return &refusal{T: "refused", Code: code, Reason: reason, status: status}
}

var (
	errNick     = refuse(http.StatusBadRequest, "nick", "A name has 1 to 24 visible characters and a letter, digit or symbol among them.")
	errRoom     = refuse(http.StatusBadRequest, "room", "A room has 1 to 32 letters, digits, hyphens or underscores.")
	errTaken    = refuse(http.StatusConflict, "nick", "This name is taken in this room.")
	errRoomFull = refuse(http.StatusServiceUnavailable, "room", "This room is full.")
	errFull     = refuse(http.StatusServiceUnavailable, "room", "There is no place for another room.")
	errText     = refuse(http.StatusBadRequest, "text", "A message has 1 to 2000 visible characters.")
	errID       = refuse(http.StatusBadRequest, "id", "A message id has 1 to 36 letters, digits, hyphens or underscores.")
	errSlowDown = refuse(http.StatusTooManyRequests, "slow_down", "Too many messages, slow down.")
	errAbsent   = refuse(http.StatusForbidden, "absent", "Join the room first.")
	errNoRoom   = refuse(http.StatusNotFound, "room", "There is no such room now.")
	errBadQuery = refuse(http.StatusBadRequest, "query", "The query or the body is malformed.")
)

var (
	validID  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,36}$`)
	nickCore = regexp.MustCompile(`[\pL\pN\pS]`)
	// Fillers, blanks, and a pile of marks that reaches into the lines around.
	nickTrick = regexp.MustCompile(`[\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{2800}\x{3164}\x{ffa0}\x{13441}\x{13442}\x{1d159}]|[\p{Mn}\p{Me}]{3}`)
)

// checkHello normalises and checks room and nick.
func (q *request) checkHello() error {
	q.Room = strings.ToLower(q.Room)
	q.Nick = strings.Join(strings.Fields(q.Nick), " ")
	if !fits(q.Room, roomRunesMax, func(r rune) bool {
		return r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
	}) {
		return errRoom
	}
	// Format characters (direction overrides, zero-width space) are not graphic: two names
	// that look the same shall not differ by them.
	if !fits(q.Nick, nickRunesMax, unicode.IsGraphic) || !nickCore.MatchString(q.Nick) || nickTrick.MatchString(q.Nick) {
		return errNick
	}
	return nil
}

// checkSay normalises and checks id and text.
func (q *request) checkSay() error {
	if !validID.MatchString(q.ID) {
		return errID
	}
	q.Text = strings.TrimSpace(strings.ReplaceAll(q.Text, "\r\n", "\n"))
	if !fits(q.Text, textRunesMax, func(r rune) bool {
		return r == '\n' || r == '\t' || !unicode.IsControl(r)
	}) {
		return errText
	}
	return nil
}

func fits(s string, runesMax int, valid func(rune) bool) bool {
	n := utf8.RuneCountInString(s)
	return n > 0 && n <= runesMax && utf8.ValidString(s) &&
		strings.IndexFunc(s, func(r rune) bool { return !valid(r) }) < 0
}

// fold gives all spellings of a name that differ in case, or as emoji or text, alone the same key.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Variation_Selector, r) {
			return -1
		}
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// encode marshals without the escaping of < > & that only JSON inside HTML needs.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // a wire type that does not marshal is a bug
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
