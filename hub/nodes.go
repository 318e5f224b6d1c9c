package hub

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"

	"go.uber.org/zap"
)

// subject is that of all that hubs ask each other.
const subject = "hub"

// octets is a string of any bytes in JSON, whose strings have only those of UTF-8.
type octets string

// MarshalText implements encoding.TextMarshaler.
func (o octets) MarshalText() ([]byte, error) {
	return base64.RawStdEncoding.AppendEncode(nil, []byte(o)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *octets) UnmarshalText(text []byte) error {
	bytes, err := base64.RawStdEncoding.AppendDecode(nil, text)
	*o = octets(bytes)
	return err
}

// nodeAnswer is what a hub answers, in JSON.
type nodeAnswer struct {
	Node    string  `json:"-"`
	What    string  `json:"what"` // what it was asked; empty: this node does not know how to do that
	Clients int     `json:"clients,omitempty"`
	List    []entry `json:"list,omitempty"`
	More    bool    `json:"more,omitempty"` // there are more behind the last of List
	Self    *Node   `json:"self,omitempty"`
}

// answer is called with what a node asks.
func (h *Hub) answer(_ context.Context, request []byte) []byte {
	var o order
	a := nodeAnswer{}
	if err := json.Unmarshal(request, &o); err != nil {
		h.cfg.Logger.Error("what another node asks cannot be read", zap.Error(err))
	} else {
		a = h.answerTo(&o)
	}
	data, err := json.Marshal(&a)
	if err != nil { // it has no value that cannot be encoded
		h.cfg.Logger.Error("an answer to another node cannot be encoded", zap.Error(err))
	}
	return data
}

func (h *Hub) answerTo(o *order) nodeAnswer {
	a := nodeAnswer{What: o.What}
	switch o.What {
	case orderSubscribe:
		if o.Join == nil {
			return nodeAnswer{}
		}
		a.Clients = h.take(o)
	case orderSend, orderKick, orderUnsubscribe, orderCommand, askReach:
		a.Clients = h.take(o)
	case askClients:
		a.List, a.More = h.entries(o, h.clientEntries(o))
	case askUsers:
		a.List, a.More = h.entries(o, h.userEntries())
	case askChannels:
		a.List, a.More = h.entries(o, h.channelEntries(o))
	case askNode:
		a.Self = h.self()
	default:
		return nodeAnswer{}
	}
	return a
}

// askNodes asks all nodes, or only this one if the broker knows no others. Nodes without an answer that can be read are missing.
func (h *Hub) askNodes(ctx context.Context, o *order) (all []nodeAnswer, missing []string, err error) {
	if h.nodes == nil {
		a := h.answerTo(o)
		a.Node = h.id
		return []nodeAnswer{a}, nil, nil
	}
	request, err := json.Marshal(o)
	if err != nil {
		return nil, nil, err
	}
	answers, err := h.nodes.Ask(ctx, subject, request)
	if err != nil {
		return nil, nil, err
	}
	missing = slices.Clone(answers.Missing)
	for _, x := range answers.Data {
		a := nodeAnswer{}
		if err := json.Unmarshal(x.Data, &a); err != nil || a.What != o.What {
			h.cfg.Logger.Error("the answer of a node cannot be read", zap.String("node", x.Node), zap.Error(err))
			missing = append(missing, x.Node)
			continue
		}
		a.Node = x.Node
		all = append(all, a)
	}
	slices.Sort(missing)
	return all, slices.Compact(missing), nil
}
