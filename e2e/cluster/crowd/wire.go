// Package crowd is clients of a hub that speak the Centrifugal protocol in JSON: they follow channels, publish numbered messages, and go to
// another node when theirs is gone, with their positions. What they send and get is noted in a check.Book.
package crowd

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/sockmill/sockmill/e2e/cluster/check"
)

// command is what a client sends.
type command struct {
	ID        uint32     `json:"id,omitempty"`
	Connect   *struct{}  `json:"connect,omitempty"`
	Subscribe *subscribe `json:"subscribe,omitempty"`
	Publish   *publish   `json:"publish,omitempty"`
	Presence  *channel   `json:"presence,omitempty"`
	RPC       *rpc       `json:"rpc,omitempty"`
}

type subscribe struct {
	Channel     string `json:"channel"`
	Recover     bool   `json:"recover,omitempty"`
	Epoch       string `json:"epoch,omitempty"`
	Offset      uint64 `json:"offset,omitempty"`
	Positioned  bool   `json:"positioned"`
	Recoverable bool   `json:"recoverable"`
	JoinLeave   bool   `json:"join_leave"`
}

type publish struct {
	Channel string        `json:"channel"`
	Data    check.Message `json:"data"`
}

type channel struct {
	Channel string `json:"channel"`
}

type rpc struct {
	Method string `json:"method"`
}

// reply is what the server sends: an answer if it has an ID, a push, or a ping if it is empty.
type reply struct {
	ID        uint32         `json:"id"`
	Error     *Error         `json:"error"`
	Connect   *connected     `json:"connect"`
	Subscribe *subscribed    `json:"subscribe"`
	Presence  *presentResult `json:"presence"`
	Push      *push          `json:"push"`
}

type connected struct {
	Client string `json:"client"`
	Pong   bool   `json:"pong"`
}

type subscribed struct {
	Epoch        string        `json:"epoch"`
	Offset       uint64        `json:"offset"`
	Recovered    bool          `json:"recovered"`
	Publications []publication `json:"publications"`
}

type publication struct {
	Offset uint64        `json:"offset"`
	Data   check.Message `json:"data"`
}

func (p *publication) of() check.Publication {
	return check.Publication{Offset: p.Offset, Message: p.Data}
}

type presentResult struct {
	Presence map[string]json.RawMessage `json:"presence"`
}

type push struct {
	Channel     string       `json:"channel"`
	Pub         *publication `json:"pub"`
	Join        *about       `json:"join"`
	Leave       *about       `json:"leave"`
	Unsubscribe *struct {
		Code uint32 `json:"code"`
	} `json:"unsubscribe"`
}

type about struct {
	Info struct {
		Client string `json:"client"`
	} `json:"info"`
}

// Error is what a server answers in place of a result.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return fmt.Sprintf("error %d: %s", e.Code, e.Message) }

// replies decodes a frame.
func replies(frame []byte) (all []reply, err error) {
	for line := range bytes.SplitSeq(frame, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		var r reply
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("a reply that is not one: %w: %.200s", err, line)
		}
		all = append(all, r)
	}
	return all, nil
}

func encode(c command) []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // all fields are of types that can be encoded
	}
	return b
}
