package deploy_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// manifest is what a file of Kubernetes has.
type manifest struct {
	services    []corev1.Service
	budgets     []policyv1.PodDisruptionBudget
	policies    []networkingv1.NetworkPolicy
	deployments []appsv1.Deployment
	sets        []appsv1.StatefulSet
}

// read decodes a file by the types of Kubernetes itself: a field that they do not have is an error.
func read(t *testing.T, name string) *manifest {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest{}
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		var is metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &is); err != nil {
			t.Fatal(err)
		}
		switch is.APIVersion + " " + is.Kind {
		case "v1 Service":
			m.services = append(m.services, strict[corev1.Service](t, doc))
		case "policy/v1 PodDisruptionBudget":
			m.budgets = append(m.budgets, strict[policyv1.PodDisruptionBudget](t, doc))
		case "networking.k8s.io/v1 NetworkPolicy":
			m.policies = append(m.policies, strict[networkingv1.NetworkPolicy](t, doc))
		case "apps/v1 Deployment":
			m.deployments = append(m.deployments, strict[appsv1.Deployment](t, doc))
		case "apps/v1 StatefulSet":
			m.sets = append(m.sets, strict[appsv1.StatefulSet](t, doc))
		default:
			t.Errorf("%s has a %s %s, which this test does not know", name, is.APIVersion, is.Kind)
		}
	}
	return m
}

func strict[T any](t *testing.T, doc []byte) (v T) {
	t.Helper()
	if err := yaml.UnmarshalStrict(doc, &v); err != nil {
		t.Errorf("%T: %v", v, err)
	}
	return v
}

func TestKubernetes(t *testing.T) {
	for _, name := range []string{"kubernetes.yaml", "kubernetes-echo.yaml"} {
		t.Run(name, func(t *testing.T) {
			m := read(t, name)
			if len(m.deployments)+len(m.sets) != 1 {
				t.Fatalf("%d Deployments and %d StatefulSets: this test is for one of them", len(m.deployments), len(m.sets))
			}
			var replicas *int32
			var selector *metav1.LabelSelector
			var pod corev1.PodTemplateSpec
			var volumes []string // that come with the set
			for _, d := range m.deployments {
				replicas, selector, pod = d.Spec.Replicas, d.Spec.Selector, d.Spec.Template
				if u := d.Spec.Strategy.RollingUpdate; u == nil || u.MaxUnavailable.IntValue() != 0 || u.MaxSurge.IntValue() < 1 {
					t.Errorf("a new version has to come before the old one goes: %+v", u)
				}
			}
			for _, s := range m.sets {
				replicas, selector, pod = s.Spec.Replicas, s.Spec.Selector, s.Spec.Template
				for _, v := range s.Spec.VolumeClaimTemplates {
					volumes = append(volumes, v.Name)
				}
				if !slices.ContainsFunc(m.services, func(service corev1.Service) bool { return service.Name == s.Spec.ServiceName }) {
					t.Errorf("there is no service %s", s.Spec.ServiceName)
				}
			}
			for _, v := range pod.Spec.Volumes {
				volumes = append(volumes, v.Name)
			}
			checkPod(t, &pod.Spec, volumes)
			checkSelectors(t, m, selector, pod)
			checkBudget(t, m, *replicas)
		})
	}
}

// checkSelectors: everything that selects pods selects these, by ports that they have.
func checkSelectors(t *testing.T, m *manifest, own *metav1.LabelSelector, pod corev1.PodTemplateSpec) {
	selects := func(what string, s *metav1.LabelSelector) {
		by, err := metav1.LabelSelectorAsSelector(s)
		if err != nil || by.Empty() || !by.Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s does not select the pods (%v): %v, %v", what, pod.Labels, s, err)
		}
	}
	has := func(what string, port intstr.IntOrString) {
		if !slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool {
			return p.Name == port.StrVal && port.Type == intstr.String || p.ContainerPort == port.IntVal
		}) {
			t.Errorf("%s names the port %s: the pods have none", what, port.String())
		}
	}
	selects("the workload", own)
	for _, c := range pod.Spec.TopologySpreadConstraints {
		selects("a topologySpreadConstraint", c.LabelSelector)
	}
	for _, b := range m.budgets {
		selects("the PodDisruptionBudget", b.Spec.Selector)
	}
	for _, s := range m.services {
		selects("the service "+s.Name, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
		for _, p := range s.Spec.Ports {
			if p.TargetPort == (intstr.IntOrString{}) {
				p.TargetPort = intstr.FromInt32(p.Port)
			}
			has("the service "+s.Name, p.TargetPort)
		}
	}
	covered := map[string]bool{}
	for _, n := range m.policies {
		selects("the NetworkPolicy", &n.Spec.PodSelector)
		for _, rule := range n.Spec.Ingress {
			for _, p := range rule.Ports {
				has("the NetworkPolicy", *p.Port)
				covered[p.Port.String()] = true
				if open := len(rule.From) == 0; open != (p.Port.StrVal == "http") {
					t.Errorf("the port %s is open to everybody: %v", p.Port.StrVal, open)
				}
			}
		}
	}
	for _, p := range pod.Spec.Containers[0].Ports {
		if !covered[p.Name] {
			t.Errorf("the NetworkPolicy lets nobody to the port %s", p.Name)
		}
	}
	for _, probe := range []*corev1.Probe{pod.Spec.Containers[0].ReadinessProbe, pod.Spec.Containers[0].LivenessProbe} {
		if probe != nil && probe.HTTPGet != nil {
			has("the probe of "+probe.HTTPGet.Path, probe.HTTPGet.Port)
		}
	}
}

// checkBudget: nodes may be taken away, but never all at once.
func checkBudget(t *testing.T, m *manifest, replicas int32) {
	if len(m.budgets) != 1 {
		t.Fatalf("there are %d PodDisruptionBudgets", len(m.budgets))
	}
	if b := m.budgets[0].Spec; b.MaxUnavailable == nil || b.MaxUnavailable.IntValue() < 1 || b.MaxUnavailable.IntValue() >= int(replicas) || replicas < 2 {
		t.Errorf("%d replicas, of which %v may be unavailable", replicas, b.MaxUnavailable)
	}
}

func checkPod(t *testing.T, pod *corev1.PodSpec, volumes []string) {
	if s := pod.SecurityContext; s == nil || !isTrue(s.RunAsNonRoot) || s.RunAsUser == nil || *s.RunAsUser != 65532 ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("securityContext of the pod: %+v", s)
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("the pod gets a token of Kubernetes' API, which it does not need")
	}
	if len(pod.Containers) != 1 {
		t.Fatalf("%d containers", len(pod.Containers))
	}
	c := pod.Containers[0]
	if s := c.SecurityContext; s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !isTrue(s.ReadOnlyRootFilesystem) ||
		s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
		t.Errorf("securityContext of the container: %+v", s)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() ||
		c.Resources.Limits.Memory().Cmp(*c.Resources.Requests.Memory()) < 0 {
		t.Errorf("resources: %+v", c.Resources)
	}
	if r := c.ReadinessProbe; r == nil || r.HTTPGet == nil || r.HTTPGet.Path != "/readyz" {
		t.Errorf("readinessProbe: %+v", r)
	}
	if l := c.LivenessProbe; l == nil || l.HTTPGet == nil || l.HTTPGet.Path != "/healthz" {
		t.Errorf("livenessProbe: %+v", l)
	}
	for _, m := range c.VolumeMounts {
		if !slices.Contains(volumes, m.Name) {
			t.Errorf("there is no volume %s", m.Name)
		}
	}
	checkEnd(t, pod)
}

// checkEnd: Kubernetes has seen that the pod is not ready before its connections end, and waits until they have.
func checkEnd(t *testing.T, pod *corev1.PodSpec) {
	c := pod.Containers[0]
	const rest = 10 * time.Second // Config.DrainTimeout; what the cluster needs beside it is in examples/cluster/deploy_test.go
	unready, drain := flagTime(t, c.Args, "unready-for"), flagTime(t, c.Args, "drain")
	grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	if c.Lifecycle != nil {
		t.Error("there is a preStop, beside -unready-for: one of them is enough")
	}
	if probed := time.Duration(c.ReadinessProbe.PeriodSeconds*c.ReadinessProbe.FailureThreshold) * time.Second; unready < probed {
		t.Errorf("the pod is not ready for %v; the probe takes up to %v to see it", unready, probed)
	}
	if need := unready + drain + rest; grace <= need {
		t.Errorf("the pod has %v for its end, which takes up to %v", grace, need)
	}
}

// flagTime is the time that a flag among args has.
func flagTime(t *testing.T, args []string, name string) time.Duration {
	t.Helper()
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, fmt.Sprintf("-%s=", name)); ok {
			d, err := time.ParseDuration(v)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	t.Fatalf("%q have no -%s", args, name)
	return 0
}

func isTrue(b *bool) bool { return b != nil && *b }
