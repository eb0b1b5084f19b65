"""The facts that the facts task asks about: plain tables, checked against common knowledge, no code."""

from __future__ import annotations

CONTINENTS = ("Africa", "America", "Asia", "Europe")

_COUNTRIES = {
    "Africa": (
        "Kenya Nairobi, Mali Bamako, Ghana Accra, Egypt Cairo, Angola Luanda, Niger Niamey, "
        "Nigeria Abuja, Senegal Dakar, Sudan Khartoum, Uganda Kampala, Zambia Lusaka, Zimbabwe Harare, "
        "Tunisia Tunis, Morocco Rabat, Libya Tripoli, Rwanda Kigali, Somalia Mogadishu, Malawi Lilongwe, Gambia Banjul"
    ),
    "America": (
        "Canada Ottawa, Cuba Havana, Peru Lima, Chile Santiago, Brazil Brasilia, Ecuador Quito, Colombia Bogota, "
        "Venezuela Caracas, Paraguay Asuncion, Uruguay Montevideo, Jamaica Kingston, Honduras Tegucigalpa, "
        "Nicaragua Managua, Bolivia Sucre"
    ),
    "Asia": (
        "Japan Tokyo, China Beijing, Iran Tehran, Iraq Baghdad, Nepal Kathmandu, Vietnam Hanoi, "
        "Thailand Bangkok, Mongolia Ulaanbaatar, Pakistan Islamabad, Bangladesh Dhaka, Syria Damascus, Jordan Amman, "
        "Lebanon Beirut, Oman Muscat, Qatar Doha, Indonesia Jakarta, Philippines Manila, Laos Vientiane"
    ),
    "Europe": (
        "France Paris, Germany Berlin, Spain Madrid, Italy Rome, Portugal Lisbon, Austria Vienna, Belgium Brussels, "
        "Poland Warsaw, Hungary Budapest, Greece Athens, Norway Oslo, Sweden Stockholm, Finland Helsinki, "
        "Denmark Copenhagen, Ireland Dublin, Iceland Reykjavik, Romania Bucharest, Bulgaria Sofia, Serbia Belgrade, "
        "Croatia Zagreb, Ukraine Kyiv, Latvia Riga, Estonia Tallinn, Lithuania Vilnius, Albania Tirana"
    ),
}
CAPITALS: dict[str, str] = {}
CONTINENT_OF: dict[str, str] = {}
for _place, _pairs in _COUNTRIES.items():
    for _pair in _pairs.split(", "):
        _country, _city = _pair.split(" ", 1)
        CAPITALS[_country] = _city
        CONTINENT_OF[_country] = _place

ELEMENTS: dict[str, str] = dict(
    pair.split(" ")
    for pair in (
        "hydrogen H, helium He, lithium Li, carbon C, nitrogen N, oxygen O, fluorine F, neon Ne, sodium Na, "
        "magnesium Mg, aluminium Al, silicon Si, phosphorus P, sulfur S, chlorine Cl, argon Ar, potassium K, "
        "calcium Ca, titanium Ti, chromium Cr, manganese Mn, iron Fe, cobalt Co, nickel Ni, copper Cu, zinc Zn, "
        "silver Ag, tin Sn, iodine I, tungsten W, platinum Pt, gold Au, mercury Hg, lead Pb, radon Rn, uranium U"
    ).split(", ")
)

BOOKS: dict[str, str] = dict(
    pair.split(" by ")
    for pair in (
        "Hamlet by Shakespeare, Ulysses by Joyce, Emma by Austen, Dracula by Stoker, Faust by Goethe, "
        "Frankenstein by Shelley, Germinal by Zola, Candide by Voltaire, Lolita by Nabokov, Carrie by King, "
        "Dune by Herbert, Neuromancer by Gibson, Beloved by Morrison, Middlemarch by Eliot, Walden by Thoreau, "
        "Odyssey by Homer, Aeneid by Virgil, Metamorphosis by Kafka, Kim by Kipling, Rebecca by Maurier, "
        "Ivanhoe by Scott, Utopia by More, Leviathan by Hobbes, Republic by Plato, Emile by Rousseau, "
        "Siddhartha by Hesse, Nausea by Sartre, Plague by Camus, Idiot by Dostoevsky, Pygmalion by Shaw"
    ).split(", ")
)
