"""The words that the rules for names know: what opens sentences, joins names, or stands before one without being of it.

Data only; `names` says what each list is for.
"""

from __future__ import annotations

# Words with a capital that are no name, nor the beginning of one.
FUNCTION_WORDS = frozenset(
    """A About Above According Accordingly Across Actually Additionally After Afterward Afterwards Again Against Ago All
    Almost Alone Along Alongside Already Also Alternatively Although Altogether Always Am Amid Among Amongst An And
    Another Any Anybody Anyone Anything Anyway Apart Apparently Approximately Are Around As Aside At Away Back Based
    Basically Be Because Become Been Before Beforehand Behind Being Below Beneath Beside Besides Between Beyond Both
    Briefly But By Can Cannot Certain Certainly Clearly Commonly Compared Consequently Considering Contrary Conversely
    Could Currently Depending Despite Did Do Does Doing Done Due During Each Earlier Early Either Elsewhere Especially
    Even Eventually Ever Every Everybody Everyone Everything Everywhere Except Famous Far Few Fewer Finally First
    Firstly Following For Former Formerly Fortunately Frequently From Further Furthermore Generally Given Gradually
    Had Half Has Have Having He Hence Her Here Hers Herself Him Himself His Historically How However I If Immediately
    In Including Indeed Initially Inside Instead Interestingly Into Is It Its Itself Just Largely Last Lastly Late
    Later Least Less Let Like Likewise Little Located Made Mainly Many May Maybe Me Meanwhile Might Mine More
    Moreover Most Mostly Much Must My Myself Namely Near Nearby Nearly Neither Never Nevertheless Next No Nobody None
    Nonetheless Nor Normally Not Notable Notably Nothing Now Nowadays Nowhere Obviously Occasionally Of Off Officially
    Often Oh Ok On Once One Ones Only Onto Opposite Or Original Originally Other Others Otherwise Our Ours Ourselves
    Out Outside Over Overall Own Part Particularly Past Per Perhaps Please Plus Possibly Presently Presumably Previous
    Previously Primarily Prior Probably Quickly Quite Rarely Rather Really Recent Recently Regarding Regardless
    Relatively Reportedly Respectively Same Second Secondly See Seemingly Seldom Several Shall She Shortly Should
    Similar Similarly Simply Since So Some Somebody Someone Something Sometime Sometimes Somewhat Somewhere Soon
    Specifically Still Strictly Subsequently Such Suddenly Supposedly Than Thanks That The Their Theirs Them Themselves
    Then There Thereafter Therefore These They Third Thirdly This Those Though Through Throughout Thus To Today
    Together Tomorrow Too Toward Towards Traditionally Twice Typically Ultimately Under Underneath Unfortunately Unless
    Unlike Until Up Upon Us Usually Various Very Via Was We Well Were What Whatever When Whenever Where Whereas Whereby
    Wherein Wherever Whether Which Whichever While Whilst Who Whoever Whole Whom Whose Why Will With Within Without
    Would Yes Yesterday Yet You Your Yours Yourself
    Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve Twenty Thirty Forty Fifty Hundred Hundreds Thousand
    Thousands Million Millions Fourth Fifth Sixth Seventh Eighth Ninth Tenth
    I'm I've I'll I'd I’m I’ve I’ll I’d Don't Don’t Can't Can’t Didn't Didn’t Isn't It'll Won't He'd He'll She'd She'll
    They're They’re They'd They've We're We’re We've We'll You're You’re You've You'll There're Let’s
    Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April June July August September
    October November December Mr Mrs Ms Miss Dr Prof Rev Hon Messrs Mr. Mrs. Ms. Dr. Prof. Rev. Hon. Messrs. Sir
    AD BC BCE CE A.D. B.C. AM PM A.M. P.M. No. Vol. Fig. Figs. Ch. Nos. Eds. Ed. Trans. Op. Cf. Approx. TBA N/A OK CD
    DVD TV KO LLC CEO FAQ""".split()
)  # fmt: skip

HONORIFICS = frozenset("Mr Mrs Ms Miss Dr Prof Rev Hon Messrs Mr. Mrs. Ms. Dr. Prof. Rev. Hon. Messrs. Sir".split())

# Lower-case words inside names: "University of the Andes", "Ludwig van Beethoven", "Osama bin Laden".
PARTICLES = (
    "of the|of|de la|de las|de los|de l|de|del|della|delle|degli|di|da|das|dos|do|du|des|van der|van den|van de|van|"
    "von der|von und zu|von|zu|zur|la|le|les|el|al|bin|ibn|bint|ben|y|e|und|et|ter|ten|op de|af|av"
)
# They also begin a name, where only its family name is said: "van Gogh".
LEADING_PARTICLES = ("van der ", "van den ", "van de ", "van ", "von der ", "von ", "bin ", "ibn ")

# Their full stop does not end the name, nor belong to a sentence's end alone.
ABBREVIATIONS = (
    "St|Ste|Mt|Ft|Pt|Jr|Sr|Inc|Ltd|Co|Corp|Bros|Gen|Col|Lt|Capt|Maj|Sgt|Cpl|Gov|Sen|Rep|Rev|Dr|Mr|Mrs|Ms|Prof|Hon|"
    "Adm|Cmdr|Pres|Supt|Ave|Blvd|Univ|Dept|Assn|No|Nos|Vol|Messrs|Mme|Mlle|Msgr|Fr|Ph|Geo|Wm|Chas|Thos|Jas|Jos"
)
"""Alternatives of a regular expression, each followed by a full stop in the text."""

# They stand before a person's name and are no part of it; alone they are no name.
RANKS = frozenset(
    """Admiral Ambassador Archbishop Bishop Brigadier Brother Cadet Cardinal Captain Chairman Chancellor Chief Colonel
    Commander Commissioner Commodore Congressman Constable Coach Corporal Councillor Detective Director Doctor Father
    General Governor Inspector Judge Justice Lieutenant Major Marshal Mayor Minister Officer Pastor President Premier
    Principal Private Professor Rabbi Representative Reverend Secretary Senator Sergeant Sheriff Speaker
    Superintendent Treasurer Uncle Aunt Warden Vice Prime Deputy Col. Lt. Gen. Capt. Maj. Sgt. Cpl. Gov. Sen. Rep. Adm.
    Cmdr. Pres. Supt. Fr. Mme. Mlle. Msgr. Lieutenant-Colonel Lieutenant-General Major-General Baron Baroness Count
    Countess Duchess Duke Earl Emperor Empress King Lady Lord Marquess Marquis Prince Princess Queen Viscount Pope
    Saint""".split()
)  # fmt: skip
# Of these, the ones that belong to the name all the same: "Queen Victoria", "Duke of Wellington".
RANKS_OF_THE_NAME = frozenset(
    """Baron Baroness Count Countess Duchess Duke Earl Emperor Empress King Lady Lord Marquess Marquis Prince Princess
    Queen Viscount Pope Saint""".split()
)

# What they are for is part of their name: "Institute for Advanced Study", "Department of Trade and Industry".
HEADS = frozenset(
    """Academy Agency Alliance Association Board Bureau Campaign Center Centre Coalition Commission Committee Conference
    Convention Council Court Department Faculty Federation Foundation Fund Institute Institution Journal Laboratory
    League Ministry Museum National Office Organisation Organization Partnership Party Program Programme School
    Society Union University""".split()
)

# Common words that names of places and institutions begin with.
OPENING_PREFIXES = frozenset(
    """New South North East West Southern Northern Eastern Western Great Greater United Royal National American Central
    Upper Lower Old Saint Holy Red Black White Green Blue Grand High Little Long Big World University House Lake Mount
    River Cape Fort Port Santa San Los Las El La Le St. Mt. Ft. King Queen Prince Princess Lord Lady Pope Duke Earl
    Democratic Republican Christian Roman Free State International Imperial Super Star First Second Third Air Bank
    Battle Church""".split()
)

# A word with one of these endings that opens a sentence and stands nowhere else is hardly a name.
WORD_ENDINGS = (
    "ing", "ly", "ed", "tion", "tions", "sion", "sions", "ness", "ment", "ments", "ity", "ities", "ism", "isms", "ist",
    "ists", "ful", "less", "able", "ible", "ous", "ers", "ance", "ence", "ship", "ships", "ies",
)  # fmt: skip
