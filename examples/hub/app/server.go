package app

import (
	"context"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/centrifugal"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
)

// newServer makes the hub: every channel without a namespace has all that there is, and its members may publish, and read its
// history and its presence. Other channels are unknown.
func (p *program) newServer() (*centrifugal.Server, error) {
	cfg := centrifugal.Config{
		Hub: hub.Config{
			Channel: centrifugal.Namespaces(map[string]hub.Options{"": {
				History: p.history, Lifetime: p.historyFor, Presence: true, JoinLeave: true,
				Join: hub.Everybody, Publish: hub.Members, ReadHistory: hub.Members, ReadPresence: hub.Members,
			}}),
			Hooks:                hub.Hooks{Connect: nameThemselves, RPC: p.rpc},
			ChannelsPerClientMax: p.maxChannels,
			RecoverMax:           max(p.history, 1),
		},
		FrameBytesMax: frameBytesMax,
		ReplyBytesMax: replyBytesMax,
		Logger:        p.log,
	}
	if p.node != nil {
		cfg.Hub.Broker, cfg.Hub.History, cfg.Hub.Presence = p.node.Broker, p.node.History, p.node.Presence
	}
	if p.secret != "" {
		tokens, err := token.New(token.Config{Secret: []byte(p.secret)})
		if err != nil {
			return nil, err
		}
		cfg.Tokens, cfg.Hub.Hooks.Connect = tokens, byToken
	}
	return centrifugal.New(p.engine, cfg)
}

// The error that a client gets for a bad name. Codes from 400 on are the program's own.
var errName = centrifugal.Error{Code: 400, Message: "a name has 1 to 32 visible characters"}

// nameThemselves lets everybody in as the name that they give, {"name": "Ada"} in the data of the connect command, or as nobody.
func nameThemselves(_ context.Context, _ *engine.Conn, as *hub.Connect) error {
	var said struct{ Name string }
	_ = json.Unmarshal(as.Data, &said) // then it is another program's data, without a name
	if said.Name != "" && !validName(said.Name) {
		return errName
	}
	as.User = said.Name
	return tell(as)
}

// byToken lets in whoever has shown a good token, which names a user.
func byToken(_ context.Context, _ *engine.Conn, as *hub.Connect) error {
	if as.User == "" {
		return centrifugal.ErrUnauthorized
	}
	return tell(as)
}

// tell tells the client who it is.
func tell(as *hub.Connect) (err error) {
	as.Data, err = json.Marshal(map[string]string{"user": as.User})
	return err
}

func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= 32 && strings.TrimSpace(name) == name &&
		!strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) })
}
