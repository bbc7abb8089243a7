// The verbs, one a file in verbs/.

#pragma once

#include "modelctl/verb.h"

namespace modeld::modelctl {

Verb PsVerb();
Verb GetVerb();
Verb LoadVerb();
Verb EvictVerb();
Verb AliasVerb();
Verb PinVerb();
Verb UnpinVerb();
Verb WhyVerb();
Verb LeasesVerb();
Verb DevicesVerb();
Verb EventsVerb();
Verb InspectVerb();
Verb VerifyVerb();
Verb DigestVerb();
Verb ExportVerb();
Verb DoctorVerb();
Verb HealthVerb();
Verb VersionVerb();

}  // namespace modeld::modelctl
