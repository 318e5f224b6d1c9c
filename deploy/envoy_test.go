package deploy_test

import (
	"os"
	"testing"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

// TestEnvoy: each field of envoy.yaml is one of Envoy's and has a value that Envoy takes, in what is behind each typed_config
// too, and each cluster that is named exists.
func TestEnvoy(t *testing.T) {
	text, err := os.ReadFile("envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	json, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	b := &bootstrap.Bootstrap{}
	if err := protojson.Unmarshal(json, b); err != nil {
		t.Fatal(err)
	}
	clusters := map[string]bool{}
	for _, c := range b.GetStaticResources().GetClusters() {
		clusters[c.GetName()] = true
		if c.GetLoadAssignment().GetClusterName() != c.GetName() {
			t.Errorf("the endpoints of %s are for %s", c.GetName(), c.GetLoadAssignment().GetClusterName())
		}
	}
	named := 0
	eachMessage(t, b.ProtoReflect(), func(m protoreflect.Message) {
		if v, ok := m.Interface().(interface{ ValidateAll() error }); ok {
			if err := v.ValidateAll(); err != nil {
				t.Error(err)
			}
		}
		// "cluster" is a field of a route and of a TCP proxy.
		if f := m.Descriptor().Fields().ByName("cluster"); f != nil && f.Kind() == protoreflect.StringKind && m.Has(f) {
			if named++; !clusters[m.Get(f).String()] {
				t.Errorf("%s names the cluster %s: there is none", m.Descriptor().Name(), m.Get(f))
			}
		}
	})
	if named != len(clusters) || named == 0 {
		t.Errorf("%d clusters are named, of %d", named, len(clusters))
	}
}

// eachMessage calls f for m and for each message in it, in an Any too.
func eachMessage(t *testing.T, m protoreflect.Message, f func(protoreflect.Message)) {
	if in, ok := m.Interface().(*anypb.Any); ok {
		var inner proto.Message
		inner, err := in.UnmarshalNew()
		if err != nil {
			t.Error(err)
			return
		}
		eachMessage(t, inner.ProtoReflect(), f)
		return
	}
	f(m)
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.IsMap() || field.Message() == nil:
		case field.IsList():
			for i := range v.List().Len() {
				eachMessage(t, v.List().Get(i).Message(), f)
			}
		default:
			eachMessage(t, v.Message(), f)
		}
		return true
	})
}
