package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// headField carries the size of the request's head back to the page, which cannot see what the
// browser sent. The page leaves this field out of its own count of the response.
const headField = "X-Request-Head-Bytes"

// The same chat for a client that asks every second. In favour of polling it brings messages
// only (no presence, no typing hints), needs no cookie, and says nothing when there is no news.
func pollRoutes(mux *http.ServeMux, h *hub) {
	mux.HandleFunc("GET /api/poll", answer(func(w http.ResponseWriter, r *http.Request) (any, error) {
		query := r.URL.Query()
		room := h.find(query.Get("room"))
		if room == nil {
			return nil, errNoRoom
		}
		epoch := query.Get("epoch")
		since, err := strconv.ParseUint(query.Get("since"), 10, 64)
		if epoch != "" && err != nil {
			return nil, errBadQuery
		}
		news := room.poll(epoch, since)
		if epoch != "" && !news.Lost && len(news.Messages) == 0 {
			return nil, nil
		}
		return news, nil
	}))
	mux.HandleFunc("POST /api/send", answer(func(w http.ResponseWriter, r *http.Request) (any, error) {
		var q request
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, wireBytesMax)).Decode(&q); err != nil {
			return nil, errBadQuery
		}
		room := h.find(q.Room)
		if room == nil {
			return nil, errNoRoom
		}
		s := room.session(q.Token)
		if s == nil {
			return nil, errAbsent
		}
		return room.say(s, &q, nil, time.Now())
	}))
}

// answer writes what f returns: nil as 204, a refusal with its status.
func answer(f func(http.ResponseWriter, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set(headField, strconv.Itoa(requestHeadBytes(r)))
		head.Set("Cache-Control", "no-store")
		body, err := f(w, r)
		status := http.StatusOK
		var why *refusal
		if errors.As(err, &why) {
			body, status = why, why.status
		}
		if body == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		data := encode(body)
		head.Set("Content-Type", "application/json")
		head.Set("Content-Length", strconv.Itoa(len(data)))
		w.WriteHeader(status)
		_, _ = w.Write(data)
	}
}

// requestHeadBytes is the size of the head as HTTP/1.1 writes it, put together again from its
// parsed fields.
func requestHeadBytes(r *http.Request) int {
	n := len(r.Method) + 1 + len(r.RequestURI) + 1 + len("HTTP/1.1\r\n") + len("Host: \r\n") + len(r.Host) + len("\r\n")
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(": \r\n") + len(v)
		}
	}
	return n
}

// handshakeBytes is the size of the opening handshake's request and response (RFC 6455 section 1.3).
func handshakeBytes(r *protocol.Request) [2]int {
	request := len(r.Method) + 1 + len(r.Target) + 1 + len("HTTP/1.1\r\n") + len("\r\n")
	for _, f := range r.Fields {
		request += len(f.Name) + len(": \r\n") + len(f.Value)
	}
	response := protocol.AppendSwitchingProtocols(nil, r.Fields.Get("Sec-WebSocket-Key"), "", "", nil)
	return [2]int{request, len(response)}
}
